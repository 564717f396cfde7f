"""Other encoders, readouts and ways of hiding than those that were built, for recipe.py.

They have no settings, as none is part of the program: while one is in force, the program's own function is
replaced. Each leaves the number of parameters and the draws of chance as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch
from numba import njit
from torch import Tensor

from claimscale.model import classifier as readout
from claimscale.model.classifier import EncoderClassifier, Pooled
from claimscale.model.encoder import Encoder, Inputs
from claimscale.model.shapes import TIME_FEATURES
from claimscale.seeded_random import uniform
from claimscale.tokens.batches import Batch, Masked
from claimscale.tokens.special_tokens import FIRST_CODE, MASK
from claimscale.training import pretraining_run

Alternative = Callable[[], AbstractContextManager[object]]
DAYS_PER_MONTH = 30
DAYS_PER_PLACE = 30
"""Neighbours in the sequence lie as far apart, for rotary angles over the index."""


def rotary_over(position: Callable[[Inputs], Tensor]) -> Alternative:
    """Rotary angles over another position than the day; features of time stay as they are."""
    attend = Encoder.attend

    def otherwise(self: Encoder, x_Td: Tensor, inputs: Inputs, read: object = None) -> Tensor:
        return attend(self, x_Td, replace(inputs, days=position(inputs)), read)  # pyright: ignore[reportArgumentType]

    return lambda: patch.object(Encoder, "attend", otherwise)


def months(inputs: Inputs) -> Tensor:
    return -(-inputs.days // DAYS_PER_MONTH) * DAYS_PER_MONTH


def places(inputs: Inputs) -> Tensor:
    bounds = inputs.layout.bounds.long()
    first = bounds[:-1].repeat_interleave(bounds.diff())
    return DAYS_PER_PLACE * (first - torch.arange(len(inputs.days), device=bounds.device))


def without_features(first: int, last: int) -> Alternative:
    """Some of the features of time are zero, in the input and in the rule of recurrence."""
    features = Encoder._features

    def otherwise(self: Encoder, inputs: Inputs) -> Tensor:
        found = features(self, inputs).clone()
        found[:, first:last] = 0
        return found

    return lambda: patch.object(Encoder, "_features", otherwise)


def reads(chosen: Callable[[Pooled], Pooled]) -> Alternative:
    """The readout's own weights see something else; what was foretold does not change."""

    read = EncoderClassifier.read
    return lambda: patch.object(EncoderClassifier, "read", lambda self, states: read(self, chosen(states)))


def only(name: str) -> Callable[[Pooled], Pooled]:
    return lambda states: Pooled(
        *(value if field == name else torch.zeros_like(value) for field, value in states._asdict().items())
    )


def reads_maximum() -> AbstractContextManager[object]:
    """The largest state in place of the mean."""

    def pooled(encoder: Encoder, inputs: Inputs) -> Pooled:
        x_Td, bounds = encoder.embed(inputs), inputs.layout.bounds
        hidden_Td = encoder.attend(x_Td, inputs).float()
        largest_Bd = torch.segment_reduce(hidden_Td, "max", offsets=bounds.long())
        return Pooled(hidden_Td[bounds[:-1]], largest_Bd, encoder.sum_pooling(x_Td, inputs.layout))

    return patch.object(readout, "pooled", pooled)


def hides_whole_days() -> AbstractContextManager[object]:
    """In pretraining all codes of a day are hidden or none."""

    def mask(batch: Batch, fraction: float, seed: int, step: int, unit: object = None) -> Masked:
        hidden = np.zeros(len(batch.token), np.bool_)
        row = np.repeat(batch.index, batch.lengths)
        _hide_days(batch.token, row, batch.days, fraction, seed, step, hidden)
        position = np.flatnonzero(hidden)
        token = batch.token.copy()
        token[position] = MASK
        return Masked(token, position, batch.token[position].astype(np.int64))

    return patch.object(pretraining_run, "mask_batch", mask)


@njit(cache=True)
def _hide_days(token, row, days, fraction, seed, step, hidden):
    for at in range(token.size):
        if token[at] >= FIRST_CODE:
            hidden[at] = uniform(seed, step, row[at] * np.int64(1 << 31) - days[at]) < fraction


ALTERNATIVES: dict[str, Alternative] = {
    "time: rotary over months": rotary_over(months),
    "time: rotary over places": rotary_over(places),
    "time: no rotary": rotary_over(lambda inputs: torch.zeros_like(inputs.days)),
    "time: no age": without_features(0, TIME_FEATURES // 2),
    "masking: whole days": hides_whole_days,
    "tuning: reads [CLS] alone": reads(only("first")),
    "tuning: reads the mean alone": reads(only("mean")),
    "tuning: reads the sum alone": reads(only("summed")),
    "tuning: reads the maximum": reads_maximum,
}
