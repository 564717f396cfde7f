"""Nested subsets of labelled patients, and the smallest size that can be trained on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from claimscale.cohort.selection import TRAIN, TUNING
from claimscale.seeded_random import nested_order

MIN_TO_TRAIN = 3
"""Fewest patients with the outcome, and without it, in a training subset. One or two patients would be
memorised, and the result would depend on which patients they are."""
MIN_TO_TUNE = 1
"""The same for the tuning patients. Without both outcomes, the lowest loss selects the most extreme model."""


def tuning_patients(patients: int) -> int:
    """Most tuning patients of a subset: with few labelled patients, the tuning labels are few too."""
    return max(patients // 2, 1)


def order_seed(study_seed: int, run_seed: int) -> int:
    """The seed of the order of labelled patients of a run: each run has its own."""
    return study_seed + run_seed


def nested(subjects: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An order of rows of which each subset is a prefix, and the position of each row's patient, from 1.

    Both int64 [n]. `subjects` has a row per patient and index date.
    """
    order = nested_order(subjects, seed)
    # All dates of a patient are neighbours in the order.
    ordered = subjects[order]
    return order, np.cumsum(np.append(1, ordered[1:] != ordered[:-1]))[: len(ordered)]


def min_labelled_patients(
    subjects: np.ndarray, split: np.ndarray, positive: np.ndarray, seeds: Sequence[int]
) -> dict[str, int]:
    """The smallest training subset that has, with its tuning patients, enough of each outcome for any seed.

    `subjects` int64 [n], `split` [n] and `positive` bool [n] have a row per patient and index date; each of
    `seeds` has an order of patients. Returns a number of patients by label, `positive` and `negative`: all
    training patients if no smaller subset is enough.
    """
    everyone = len(np.unique(subjects[split == TRAIN]))
    found = {"positive": 1, "negative": 1}
    for (name, required), seed in itertools.product(((TRAIN, MIN_TO_TRAIN), (TUNING, MIN_TO_TUNE)), seeds):
        rows = np.flatnonzero(split == name)
        order, place = nested(subjects[rows], seed)
        outcome = positive[rows[order]]
        for label, having in (("positive", outcome), ("negative", ~outcome)):
            places = np.unique(place[having])
            enough = int(places[required - 1]) if len(places) >= required else everyone
            if name == TUNING:
                enough = _subset_with_tuning(enough)
            found[label] = max(found[label], min(enough, everyone))
    return found


def _subset_with_tuning(patients: int) -> int:
    """The smallest subset with so many tuning patients: the inverse of `tuning_patients`."""
    return 2 * patients if patients > 1 else 1
