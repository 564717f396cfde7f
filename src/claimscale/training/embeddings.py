"""Embeddings of patients by a pretrained encoder whose weights stay frozen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from claimscale.model.classifier import SUM_SCALE, EncoderClassifier, pool
from claimscale.model.encoder import Encoder
from claimscale.model.shapes import Shape, classifier_flops
from claimscale.tokens.batches import Batch
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.device import encoder_inputs, mixed_precision, rows_of


class FrozenEncoder:
    """A pretrained encoder with frozen weights.

    `weights` is the `model.safetensors` of a pretraining, `token_metadata` that of the pretraining. With
    `outcome_tokens` [K] the zero-shot logit of the outcome is the last column of an embedding.
    """

    def __init__(
        self,
        weights: Path,
        shape: Shape,
        token_metadata: TokenMetadata,
        device: torch.device,
        outcome_tokens: np.ndarray | None = None,
    ) -> None:
        self.shape, self.device = shape, device
        self.encoder = Encoder(shape, token_metadata)
        self.encoder.load_state_dict(load_file(weights))
        self.encoder.to(device).eval()
        self.model = EncoderClassifier(self.encoder, outcome_tokens).to(device)
        self.width = 3 * shape.width + self.model.has_zero_shot

    def embed(self, sequences: Sequences) -> npt.NDArray[np.float32]:
        """Embeddings of all sequences in their order, float32 [n, width]; see `embed_sequences`."""
        return embed_sequences(self.model, sequences, self.device, self.model.has_zero_shot)

    def flops(self, sequences: Sequences) -> float:
        """Floating-point operations of `embed`."""
        return classifier_flops(self.shape, sequences.lengths, self.model.has_zero_shot)


def embed_sequences(
    model: EncoderClassifier, sequences: Sequences, device: torch.device, with_zero_shot: bool
) -> npt.NDArray[np.float32]:
    """Embeddings of all sequences in their order, float32 [n, width], as fine-tuning reads them.

    Columns: the state at [CLS], the mean of the states, the sum pooling, the zero-shot logit if wanted.
    """
    out = np.empty((len(sequences), 3 * model.encoder.shape.width + with_zero_shot), dtype=np.float32)

    def embed(batch: Batch) -> Tensor:
        with mixed_precision(device):
            inputs = encoder_inputs(batch, batch.token, device)
            states = pool(model.encoder, inputs)
            columns = [states.cls, states.mean, states.sums.states * SUM_SCALE]
            if with_zero_shot:
                columns.append(model.zero_shot_logit(states, inputs)[:, None])
        return torch.cat(columns, 1).float()

    for index, embedding in rows_of(embed, sequences, device):
        out[index] = embedding
    return out
