"""The model that a fine-tuning starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from claimscale.config.training import Finetune
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import Encoder
from claimscale.model.shapes import Shape
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import adapters


@dataclass(frozen=True)
class Initialization:
    """The model before the first step; `weights` is a pretrained `model.safetensors`, None: from scratch.

    `outcome_tokens` int64 [K] are the outcome's own codes, where pretraining predicts incident codes: the
    initial logit is then the zero-shot prediction for them.
    """

    shape: Shape
    token_metadata: TokenMetadata
    weights: Path | None
    seed: int
    device: torch.device
    outcome_tokens: np.ndarray | None = None

    def model(self, settings: Finetune, bias: float = 0.0) -> EncoderClassifier:
        """The model, the same at every call."""
        torch.manual_seed(self.seed)
        encoder = Encoder(self.shape, self.token_metadata)
        if self.weights is not None:
            encoder.load_state_dict(load_file(self.weights))
        model = EncoderClassifier(encoder, self.outcome_tokens)
        adapters.set_trainable(model, settings.method)
        torch.nn.init.constant_(model.bias, bias)
        return model.to(self.device)
