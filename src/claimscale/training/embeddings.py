"""What a pretrained encoder makes of patients it is not tuned for: frozen embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from claimscale.model import shapes
from claimscale.model.classifier import SUM_SCALE, EncoderClassifier, pooled
from claimscale.model.encoder import Encoder
from claimscale.tokens.batches import microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import loop


class FrozenEncoder:
    """A pretrained encoder that no label will ever change.

    `weights` is the `model.safetensors` of a pretraining, `token_metadata` what it was told of tokens. `outcome`
    are tokens of a question, of which it is to say how likely they are to come.
    """

    def __init__(
        self,
        weights: Path,
        shape: shapes.Shape,
        token_metadata: TokenMetadata,
        device: torch.device,
        outcome: np.ndarray | None = None,
    ) -> None:
        self.shape = shape
        self.encoder = Encoder(shape, token_metadata)
        self.encoder.load_state_dict(load_file(weights))
        self.encoder.to(device).eval()
        self.model = EncoderClassifier(self.encoder, outcome).to(device)
        self.device, self.width = device, 3 * shape.width + self.model.has_zero_shot

    @torch.no_grad()
    def embed(self, sequences: Sequences) -> npt.NDArray[np.float32]:
        """Embeddings of all sequences in their order, float32 [n, width], as fine-tuning reads them.

        The state at [CLS], the mean over the sequence's positions, the sum of what they contribute by
        themselves, and the log odds that one of the outcome's codes is incident next, where there are any.
        """
        out = np.empty((len(sequences), self.width), dtype=np.float32)
        for batch in microbatches(sequences, np.arange(len(sequences)), loop.microbatch_tokens(self.device)):
            with loop.mixed_precision(self.device):
                inputs = loop.on_device(batch, batch.token, self.device)
                states = pooled(self.encoder, inputs)
                parts = [states.first, states.mean, states.summed * SUM_SCALE]
                if self.model.has_zero_shot:
                    parts.append(self.model.zero_shot_logit(states, inputs)[:, None])
            out[batch.index] = torch.cat(parts, 1).float().cpu().numpy()
        return out
