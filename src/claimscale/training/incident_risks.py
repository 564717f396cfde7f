"""The incident risks of groups of codes, as a pretrained encoder predicts them without fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from claimscale.model.attention import QueryPositions
from claimscale.model.encoder import Encoder
from claimscale.tokens.batches import Batch
from claimscale.tokens.sequences import Sequences
from claimscale.training.device import cls_positions, encoder_inputs, mixed_precision, rows_of


def incident_log_odds(
    encoder: Encoder,
    sequences: Sequences,
    groups: Sequence[Sequence[int]],
    device: torch.device,
    progress: Callable[[float], None],
) -> np.ndarray:
    """Log odds of each of G groups of tokens, float32 [n, G].

    The hazards of a group's codes add up: a group is incident if any of its codes is.
    """
    codes = torch.tensor([token for group in groups for token in group], device=device)
    sizes = torch.tensor([len(group) for group in groups])
    group_K = torch.repeat_interleave(torch.arange(len(groups)), sizes).to(device)
    found, done = np.empty((len(sequences), len(groups)), np.float32), 0

    def predict(batch: Batch) -> Tensor:
        inputs = encoder_inputs(batch, batch.token, device)
        with mixed_precision(device):
            x_Td = encoder.embed(inputs)
            queries = QueryPositions.of(cls_positions(batch), batch.lengths, device)
            states = encoder.attend(x_Td, inputs, queries)
            sums = encoder.record_sums(x_Td, states.context, inputs.layout)
            logits_BK = encoder.incident_logits(states.final, sums, inputs, codes)
        return _of_groups(logits_BK.float(), group_K, len(groups))

    for index, log_odds in rows_of(predict, sequences, device):
        found[index] = log_odds
        done += len(index)
        progress(done / len(sequences))
    return found


def _of_groups(logits_BK: Tensor, group_K: Tensor, count: int) -> Tensor:
    """Log odds [B, G] of any code of a group, from those of the codes."""
    hazards_BG = logits_BK.new_zeros(len(logits_BK), count)
    hazards_BG.index_add_(1, group_K, F.softplus(logits_BK))  # -log(1 - p)
    # log(exp(h) - 1), exact for small hazards and finite for large ones.
    return hazards_BG + torch.log(-torch.expm1(-hazards_BG.clamp_min(1e-30)))
