"""The histories that published recipes read, and the sequences that they make of them.

A recipe gets every code of a patient in order of its day, without the claimscale encoder's deduplication and
counts. It lists the items of its sequence (codes, separators, tokens of time), each with a place; `sequences`
puts them in order.
Shape suffixes: B sequences, L positions of the longest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import FIRST_CODE, LEADING, PAD

FIRST, LAST = -1, 1 << 30
"""Visits of items that stand before, or after, all visits."""


@dataclass(frozen=True)
class CodeTypes:
    """What a recipe knows of the tokens of the store.

    Attributes:
        types: int8 [V], index into `codes.systems.TYPES`.
        admission, discharge: tokens of the days on which a stay begins and ends; -1 if there is none.
    """

    types: np.ndarray
    admission: int = -1
    discharge: int = -1

    @property
    def size(self) -> int:
        """Tokens of the store, V. Tokens of a recipe's own are numbered from here."""
        return len(self.types)


@dataclass(frozen=True)
class Histories:
    """The codes of n patients in order of day, T in total.

    Attributes:
        patient: int64 [T], number of the patient.
        token: int64 [T], code.
        age_days: int64 [T], age on the day.
        visit: int64 [T], number of the day among the patient's days with codes, from 0.
        order: int64 [T], number of the code on its day, from 0.
        index_age: int64 [n], age in days on the index date.
        sex: int64 [n], token of the sex.
    """

    patient: np.ndarray
    token: np.ndarray
    age_days: np.ndarray
    visit: np.ndarray
    order: np.ndarray
    index_age: np.ndarray
    sex: np.ndarray

    @classmethod
    def of(cls, known: Sequences) -> Histories:
        """From sequences that were made with `deduplicate="none"`."""
        lengths, starts = known.lengths, known.offsets[:-1]
        patient = np.repeat(np.arange(len(known)), lengths)
        is_code = np.arange(len(known.token)) - np.repeat(starts, lengths) >= LEADING
        patient, token = patient[is_code], known.token[is_code].astype(np.int64)
        age = known.age_days[is_code].astype(np.int64)
        order = np.lexsort((age, patient))  # the store is in order of the day on which a code became known
        patient, token, age = patient[order], token[order], age[order]
        new_patient = np.diff(patient, prepend=-1) != 0
        new_day = new_patient | (np.diff(age, prepend=-1) != 0)
        visit = np.cumsum(new_day) - 1
        first_visit = np.maximum.accumulate(np.where(new_patient, visit, 0))
        place = np.arange(len(token))
        first_place = np.maximum.accumulate(np.where(new_day, place, 0))
        return cls(
            patient,
            token,
            age,
            visit - first_visit,
            place - first_place,
            known.age_days[starts].astype(np.int64),
            known.token[starts + 1].astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.index_age)

    def days(self) -> Histories:
        """The first code of each day: one row per patient and day."""
        first = self.order == 0
        of_codes = ("patient", "token", "age_days", "visit", "order")
        return replace(self, **{name: getattr(self, name)[first] for name in of_codes})

    def until_next(self) -> np.ndarray:
        """Days from each code to the patient's next one, or to the index date, int64 [T]; not negative."""
        following = np.append(self.age_days[1:], 0)[: len(self.patient)]
        is_last = np.diff(self.patient, append=-1) != 0
        return (np.where(is_last, self.index_age[self.patient], following) - self.age_days).clip(0)

    def days_with(self, token: int) -> np.ndarray:
        """Whether the token occurs on the day of each code, bool [T]."""
        _, day = np.unique(np.stack([self.patient, self.visit]), axis=1, return_inverse=True)
        found = np.zeros(int(day.max(initial=-1)) + 1, np.bool_)
        found[day[self.token == token]] = True
        return found[day]


class Items(NamedTuple):
    """Items of sequences: patient, visit and place within the visit set the order; `channels` are [items]."""

    patient: np.ndarray
    visit: np.ndarray | int
    place: np.ndarray | int
    channels: Mapping[str, np.ndarray | int]


@dataclass(frozen=True)
class RecipeSequences:
    """Sequences of n patients, one after another: channels [T], and `offsets` int64 [n + 1].

    Every recipe has the channel `token`.
    """

    channels: Mapping[str, np.ndarray]
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Positions of each sequence, int64 [n]."""
        return np.diff(self.offsets)


class PaddedBatch(NamedTuple):
    """B sequences: `token` int64 [B, L], other channels by name [B, L], `present` bool [B, L]: no padding."""

    token: Tensor
    channels: Mapping[str, Tensor]
    present: Tensor


def sequences(items: Sequence[Items], patients: int, max_length: int) -> RecipeSequences:
    """All items in order; of a patient with more than `max_length` the newest, and all of the visit FIRST."""

    def joined(values: list[np.ndarray | int]) -> np.ndarray:
        sized = zip(items, values, strict=True)
        return np.concatenate([np.broadcast_to(value, item.patient.shape) for item, value in sized])

    patient = joined([item.patient for item in items])
    visit, place = joined([item.visit for item in items]), joined([item.place for item in items])
    order = np.lexsort((place, visit, patient))
    patient, visit = patient[order], visit[order]
    leading = np.bincount(patient[visit == FIRST], minlength=patients)
    ends = np.cumsum(np.bincount(patient, minlength=patients))
    from_end = ends[patient] - np.arange(len(patient))
    kept = (visit == FIRST) | (from_end <= max_length - leading[patient])
    names = items[0].channels.keys()
    channels = {name: joined([item.channels[name] for item in items])[order][kept] for name in names}
    lengths = np.bincount(patient[kept], minlength=patients)
    return RecipeSequences(channels, np.concatenate([[0], np.cumsum(lengths)]))


def padded(found: RecipeSequences, index: np.ndarray, device: torch.device) -> PaddedBatch:
    """The sequences `index` [B] as one batch on the device."""
    lengths, starts = found.lengths[index], found.offsets[index]
    place = np.arange(max(1, int(lengths.max(initial=1))))
    present = place < lengths[:, None]
    source = np.where(present, starts[:, None] + place, 0)

    def of(values: np.ndarray, filler: int) -> Tensor:
        return torch.from_numpy(np.where(present, values[source], filler)).to(device)

    channels = {name: of(values, 0) for name, values in found.channels.items() if name != "token"}
    return PaddedBatch(of(found.channels["token"], PAD), channels, torch.from_numpy(present).to(device))


def code_counts(found: RecipeSequences, codes: CodeTypes) -> np.ndarray:
    """Codes of the store in each sequence, int64 [n]."""
    token = found.channels["token"]
    before = np.concatenate([[0], np.cumsum((token >= FIRST_CODE) & (token < codes.size))])
    return before[found.offsets[1:]] - before[found.offsets[:-1]]


def is_code(token: Tensor, codes: CodeTypes) -> Tensor:
    """Whether each token is a code of the store, and no token of a recipe or of a person."""
    return (token >= FIRST_CODE) & (token < codes.size)
