"""Alternative encoders, classifiers and masking for recipe.py.

They are not part of the program and have no settings: each replaces one of its functions while it is active.
The number of parameters and the random numbers do not change.
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

from claimscale.model import classifier
from claimscale.model.classifier import EncoderClassifier, PooledStates
from claimscale.model.encoder import Encoder, EncoderInputs, States
from claimscale.model.shapes import TIME_FEATURES
from claimscale.seeded_random import uniform
from claimscale.tokens.batches import Batch, Masked
from claimscale.tokens.code_pairs import CodePairs
from claimscale.tokens.special_tokens import FIRST_CODE, MASK
from claimscale.training import pretraining_run

Alternative = Callable[[], AbstractContextManager[object]]
DAYS_PER_MONTH = 30
DAYS_PER_POSITION = 30
"""Distance of neighbours in the sequence, for rotary angles over the index."""


def rotary_over(position: Callable[[EncoderInputs], Tensor]) -> Alternative:
    """Rotary angles over another position than the day; time features do not change."""
    attend = Encoder.attend

    def otherwise(self: Encoder, x_Td: Tensor, inputs: EncoderInputs, queries: object = None) -> States:
        return attend(self, x_Td, replace(inputs, days=position(inputs)), queries)  # pyright: ignore[reportArgumentType]

    return lambda: patch.object(Encoder, "attend", otherwise)


def months(inputs: EncoderInputs) -> Tensor:
    return -(-inputs.days // DAYS_PER_MONTH) * DAYS_PER_MONTH


def positions(inputs: EncoderInputs) -> Tensor:
    bounds = inputs.layout.bounds.long()
    first = bounds[:-1].repeat_interleave(bounds.diff())
    return DAYS_PER_POSITION * (first - torch.arange(len(inputs.days), device=bounds.device))


def without_features(first: int, last: int) -> Alternative:
    """Some time features are zero, in the input and in the recurrence rule."""
    features = Encoder.features

    def otherwise(self: Encoder, inputs: EncoderInputs) -> Tensor:
        found = features(self, inputs).clone()
        found[:, first:last] = 0
        return found

    return lambda: patch.object(Encoder, "features", otherwise)


def reads(chosen: Callable[[PooledStates], PooledStates]) -> Alternative:
    """The classifier's weights receive other pooled states; the zero-shot logit does not change."""
    logit = EncoderClassifier.head_logit
    return lambda: patch.object(
        EncoderClassifier, "head_logit", lambda self, states: logit(self, chosen(states))
    )


def only(name: str) -> Callable[[PooledStates], PooledStates]:
    def chosen(states: PooledStates) -> PooledStates:
        kept = {one: float(one == name) for one in ("cls", "mean", "sum")}
        sums = states.sums._replace(states=states.sums.states * kept["sum"])
        return PooledStates(states.cls * kept["cls"], states.mean * kept["mean"], sums)

    return chosen


def reads_maximum() -> AbstractContextManager[object]:
    """The maximum of the states instead of the mean."""

    def pool(encoder: Encoder, inputs: EncoderInputs) -> PooledStates:
        x_Td, bounds = encoder.embed(inputs), inputs.layout.bounds
        states = encoder.attend(x_Td, inputs)
        hidden_Td = states.final.float()
        largest_Bd = torch.segment_reduce(hidden_Td, "max", offsets=bounds.long())
        return PooledStates(
            hidden_Td[bounds[:-1]], largest_Bd, encoder.record_sums(x_Td, states.context, inputs.layout)
        )

    return patch.object(classifier, "pool", pool)


def masks_whole_days() -> AbstractContextManager[object]:
    """In pretraining, all codes of a day are masked or none."""

    def mask(batch: Batch, fraction: float, seed: int, step: int, unit: object = None) -> Masked:
        hidden = np.zeros(len(batch.token), np.bool_)
        row = np.repeat(batch.index, batch.lengths)
        _mask_days(batch.token, row, batch.days, fraction, seed, step, hidden)
        position = np.flatnonzero(hidden)
        token = batch.token.copy()
        token[position] = MASK
        return Masked(token, position, batch.token[position].astype(np.int64))

    return patch.object(pretraining_run, "mask_batch", mask)


@njit(cache=True)
def _mask_days(token, row, days, fraction, seed, step, hidden):
    for at in range(token.size):
        if token[at] >= FIRST_CODE:
            hidden[at] = uniform(seed, step, row[at] * np.int64(1 << 31) - days[at]) < fraction


def without_pairs() -> AbstractContextManager[object]:
    """No earlier code has a rate of its own; the rates stay parameters without effect."""
    return patch.object(
        pretraining_run, "code_pairs", lambda samples, vocabulary, count: CodePairs.none(vocabulary, count)
    )


ALTERNATIVES: dict[str, Alternative] = {
    "time: rotary over months": rotary_over(months),
    "time: rotary over positions": rotary_over(positions),
    "time: no rotary": rotary_over(lambda inputs: torch.zeros_like(inputs.days)),
    "time: no age": without_features(0, TIME_FEATURES // 2),
    "masking: whole days": masks_whole_days,
    "incident: no code pairs": without_pairs,
    "tuning: [CLS] alone": reads(only("cls")),
    "tuning: mean alone": reads(only("mean")),
    "tuning: sum alone": reads(only("sum")),
    "tuning: maximum": reads_maximum,
}
