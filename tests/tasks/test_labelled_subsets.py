"""From how many patients on a subset is large enough: as counting each subset says."""

from __future__ import annotations

import numpy as np
import pytest

from claimscale.seeded_random import nested_order
from claimscale.tasks import labelled_subsets as subsets


def counted(subjects: np.ndarray, outcome: np.ndarray, patients: int, seed: int) -> dict[str, int]:
    """How many of the first patients have a date with the outcome, and how many one without, by hand."""
    first = list(dict.fromkeys(subjects[nested_order(subjects, seed)].tolist()))[:patients]
    inside = np.isin(subjects, first)
    return {
        "positive": len(set(subjects[inside & outcome].tolist())),
        "negative": len(set(subjects[inside & ~outcome].tolist())),
    }


@pytest.mark.parametrize("share", [0.06, 0.5, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_a_subset_is_large_enough_where_counting_it_says_so(share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    subjects = np.concatenate([np.repeat(np.arange(90), random.integers(1, 4, size=90)), np.arange(100, 130)])
    split = np.where(subjects < 90, "train", "tuning")
    positive = random.random(len(subjects)) < share
    found = subsets.min_labelled_patients(subjects, split, positive, [seed])
    training, tuning = split == "train", split == "tuning"
    for patients in range(1, 90):
        learnt = counted(subjects[training], positive[training], patients, seed)
        tuned = counted(subjects[tuning], positive[tuning], max(patients // 2, 1), seed)
        for label in ("positive", "negative"):
            assert (learnt[label] >= 3 and tuned[label] >= 1) == (patients >= found[label]), (label, patients)


def test_where_only_all_patients_are_enough_no_smaller_subset_is() -> None:
    subjects = np.arange(60)
    split = np.where(subjects < 40, "train", "tuning")
    two_cases = np.isin(subjects, [3, 4, 50])
    assert subsets.min_labelled_patients(subjects, split, two_cases, seeds=[1])["positive"] == 40
    empty = np.zeros(0, dtype=np.int64)
    none = subsets.min_labelled_patients(empty, empty.astype(str), empty.astype(bool), seeds=[1])
    assert none == {"positive": 1, "negative": 1}, "a task of nobody has a shortage, not an error"


def test_a_subset_tuned_on_so_many_is_no_larger_than_it_must_be() -> None:
    for patients in range(1, 50):
        needed = subsets._subset_with_tuning(patients)
        assert subsets.tuning_patients(needed) >= patients
        assert needed == 1 or subsets.tuning_patients(needed - 1) < patients
