"""Nested subsets of labelled patients: who is in one, and how large one must be to be learnt from."""

from __future__ import annotations

import numpy as np

from claimscale.cohort.selection import TRAIN, TUNING
from claimscale.seeded_random import nested_order

MIN_TO_TRAIN = 3
"""Patients with the outcome, and without it, that a subset needs to be trained on. From one or two a model
learns who they are, and its results say who came first in the order, not what few labels are worth."""
MIN_TO_TUNE = 1
"""The same of the patients it is tuned on. With none, the lowest loss is that of the model which is surest
that all are alike."""


def tuning_patients(patients: int) -> int:
    """How many patients a subset is tuned on at most: few labels means few labels."""
    return max(patients // 2, 1)


def nested(subjects: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of which every subset is the beginning, and the place of each one's patient, from 1.

    Both int64 [n]. `subjects` has a row per patient and index date.
    """
    order = nested_order(subjects, seed)
    # all dates of a patient are neighbours in the order
    ordered = subjects[order]
    return order, np.cumsum(np.append(1, ordered[1:] != ordered[:-1]))[: len(ordered)]


def min_labelled_patients(
    subjects: np.ndarray, split: np.ndarray, positive: np.ndarray, seed: int
) -> dict[str, int]:
    """From how many training patients on a subset, and what it is tuned on, has enough of each outcome.

    `subjects` int64 [n], `split` [n] and `positive` bool [n] have a row per patient and index date; `seed` is
    the study's. Returns a number by label, `positive` and `negative`: all training patients where no smaller
    subset is enough.
    """
    everyone = len(np.unique(subjects[split == TRAIN]))
    found = {"positive": 1, "negative": 1}
    for name, fewest in ((TRAIN, MIN_TO_TRAIN), (TUNING, MIN_TO_TUNE)):
        rows = np.flatnonzero(split == name)
        order, place = nested(subjects[rows], seed)
        outcome = positive[rows[order]]
        for label, having in (("positive", outcome), ("negative", ~outcome)):
            places = np.unique(place[having])
            enough = int(places[fewest - 1]) if len(places) >= fewest else everyone
            if name == TUNING:
                enough = _patients_tuned_on(enough)
            found[label] = max(found[label], min(enough, everyone))
    return found


def _patients_tuned_on(patients: int) -> int:
    """The smallest subset that is tuned on so many: the inverse of `tuning_patients`."""
    return 2 * patients if patients > 1 else 1
