"""What the encoder reads, and what it returns. Shape suffixes: T positions, M query positions, d width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from claimscale.model.attention import BatchLayout


@dataclass(frozen=True)
class EncoderInputs:
    """A batch's tensors on one device: `token`, `age_days` and `days` int32 [T], `count`, and the layout.

    `days` are days after the sequence's first position, [CLS], which is the newest: at most 0.
    `count` uint8 [T, windows] are the numbers of occurrences of the code in windows before [CLS].
    """

    token: Tensor
    age_days: Tensor
    days: Tensor
    count: Tensor
    layout: BatchLayout


@dataclass(frozen=True)
class IncidentTargets:
    """Incident codes of B sequences, as (row, token) pairs, int64 [2, N], or int32 on a GPU.

    `new` are the codes that are incident after the sequence's date, `known` those not at risk.
    `has_full_horizon` bool [B]: whether the horizon is observed; other sequences have no loss.
    """

    new: Tensor
    known: Tensor
    has_full_horizon: Tensor


class States(NamedTuple):
    """Final states at the query positions [M, d], or at all; and those before the last layer [T, d]."""

    final: Tensor
    context: Tensor


class CodesAndFeatures(NamedTuple):
    """Embeddings of all tokens [V, E], and features of time and count of each position [T, F]."""

    embeddings: Tensor
    features: Tensor
