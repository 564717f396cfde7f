"""The loss of a microbatch of pretraining as a GPU computes it: one function of tensors, compiled whole.

It equals the loss of a CPU to rounding (`tests/training/test_gpu_branch.py`). What both heads need is
computed once, the last layer runs at the query positions only, and sizes never depend on the values of
tensors.
Shape suffixes: T positions, Q query positions, B sequences, V vocabulary, d width, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from claimscale.model import completep
from claimscale.model.attention import QueryPositions
from claimscale.model.cross_entropy import incident_cross_entropy
from claimscale.model.encoder import Encoder
from claimscale.model.inputs import CodesAndFeatures, EncoderInputs, IncidentTargets
from claimscale.tokens.special_tokens import MASK


@dataclass(frozen=True)
class PretrainingInputs:
    """A microbatch of pretraining on one device.

    Attributes:
        inputs: the batch with its own tokens.
        is_masked: bool [T], which of the tokens are masked.
        queries: the masked positions and each sequence's [CLS], in the order of the batch.
        target: int64 [Q], the codes at masked positions, IGNORED at [CLS].
        weights: float32 [2], of a masked and an incident code in the loss.
        cls: int64 [B], the indices of [CLS] in `queries`; none without incident codes.
        incident: the incident codes, if they are predicted.
    """

    inputs: EncoderInputs
    is_masked: Tensor
    queries: QueryPositions
    target: Tensor
    weights: Tensor
    cls: Tensor
    incident: IncidentTargets | None


def pretraining_loss(encoder: Encoder, batch: PretrainingInputs) -> Tensor:
    """Weighted sums of the cross-entropies of masked and incident codes."""
    inputs, layout = batch.inputs, batch.inputs.layout
    known = CodesAndFeatures(encoder.code_embeddings(), encoder.features(inputs))
    table_Vd = encoder.token_table(known.embeddings)
    code_Td, time_Td = F.embedding(inputs.token, table_Vd), encoder.time_states(known.features)
    # Thousands of positions look up [MASK]; a sum is a faster gradient than as many additions to one row.
    masked_Td = torch.where(batch.is_masked[:, None], table_Vd[MASK], code_Td)
    masked_Td, whole_Td = ((x_Td + time_Td) * completep.input_multiplier() for x_Td in (masked_Td, code_Td))
    hidden_Qd, context_Td = encoder.attend(masked_Td, inputs, batch.queries)
    loss = encoder.masked_loss(hidden_Qd, batch.target, known.embeddings) * batch.weights[0]
    if batch.incident is None:
        return loss
    # Sum pooling sees the codes without masks, as it does in fine-tuning.
    sums = encoder.record_sums(whole_Td, context_Td, layout)
    logits_BV = encoder.incident_logits(F.embedding(batch.cls, hidden_Qd), sums, inputs, known=known)
    return loss + incident_cross_entropy(logits_BV, batch.incident) * batch.weights[1]
