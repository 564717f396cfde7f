"""Overlap of training and test patients: shared ids, near-duplicates, pretraining."""

from __future__ import annotations

import numpy as np

from claimscale.findings import finding
from claimscale.validity.check_result import Bools, CheckResult, Ints, check_result, part, share

HASHES, BAND = 16, 2
PATIENTS_PER_BLOCK = 20_000
MIN_CODES = 10
"""Patients with fewer distinct codes may agree at random."""
MIN_JACCARD = 0.9
"""Jaccard index from which two patients of one birth date and sex are near-duplicates."""


def split_overlap(
    subjects: Ints, learns: Bools, tests: Bools, birth_day: Ints, sex: Ints, offsets: Ints, codes: Ints
) -> CheckResult:
    """Patients, and near-duplicates of patients, in both the training and the test data.

    `subjects`, `birth_day`, `sex` int [n]; `learns` bool [n] marks training and tuning patients, `tests`
    test patients. The codes of patient i are `codes[offsets[i]:offsets[i + 1]]`, with repeats. Warns on any
    patient in both, and on any pair with equal birth date and sex, at least ten codes and a Jaccard index of
    0.9, found by MinHash (Broder 1997).
    """
    both = np.intersect1d(subjects[learns], subjects[tests])
    apart = ~np.isin(subjects, both)
    pairs = near_duplicates(learns & apart, tests & apart, birth_day, sex, offsets, codes)
    evidence = {
        "patients_in_both": float(len(both)),
        "near_duplicates": float(pairs),
        "test_patients": float(len(np.unique(subjects[tests]))),
    }
    problems = []
    if len(both):
        shared = part(len(both), len(np.unique(subjects[tests])))
        problems.append(finding("validity.split_overlap", share=shared))
    if pairs:
        twins = part(pairs, len(np.unique(subjects[tests])))
        problems.append(finding("validity.near_duplicates", share=twins))
    return check_result("split_overlap", problems, finding("validity.no_split_overlap"), evidence)


def near_duplicates(
    learns: Bools, tests: Bools, birth_day: Ints, sex: Ints, offsets: Ints, codes: Ints
) -> int:
    """Number of test patients with a near-duplicate among training patients."""
    signature = _signatures(offsets, codes)
    sets: dict[int, Ints] = {}

    def codes_of(place: int) -> Ints:
        if place not in sets:
            sets[place] = np.unique(codes[offsets[place] : offsets[place + 1]])
        return sets[place]

    found: set[int] = set()
    for first in range(0, HASHES, BAND):
        key = np.column_stack([birth_day, sex, signature[:, first : first + BAND]])
        order = np.lexsort(key.T)
        starts = np.flatnonzero(np.append(True, (key[order][1:] != key[order][:-1]).any(axis=1)))
        ends = np.append(starts[1:], len(order))
        for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
            group = order[start:end]
            learners = group[learns[group]]
            for place in group[tests[group]].tolist():
                own = codes_of(place)
                if place in found or len(own) < MIN_CODES:
                    continue
                if any(_jaccard(own, codes_of(other)) >= MIN_JACCARD for other in learners.tolist()):
                    found.add(place)
    return len(found)


def pretraining_overlap(pretrained: Ints, tests: Ints, pretrained_until: int, landmark: int) -> CheckResult:
    """Test patients, and events from the landmark onwards, in the pretraining data.

    `pretrained` and `tests` are subject ids; `pretrained_until` is the last day of the pretraining data, and
    `landmark` the day number of the landmark.
    """
    both = np.intersect1d(pretrained, tests)
    evidence = {
        "pretrained_test_patients": float(len(both)),
        "share_of_test_patients": share(len(both), len(np.unique(tests))),
        "days_beyond_landmark": float(max(pretrained_until - landmark + 1, 0)),
    }
    problems = []
    if len(both):
        seen = part(len(both), len(np.unique(tests)))
        problems.append(finding("validity.pretraining_overlap", share=seen))
    if pretrained_until >= landmark:
        days = pretrained_until - landmark + 1
        problems.append(finding("validity.pretraining_later", days=days))
    return check_result("pretraining_overlap", problems, finding("validity.no_pretraining_overlap"), evidence)


def _signatures(offsets: Ints, codes: Ints) -> Ints:
    """MinHash signature of each patient's codes, int64 [n, HASHES]; -1 for patients without codes."""
    random = np.random.default_rng(42)
    size = int(codes.max()) + 1 if len(codes) else 1
    orders = [random.permutation(size).astype(np.int32) for _ in range(HASHES)]
    filled = np.flatnonzero(np.diff(offsets) > 0)
    found = np.full((len(offsets) - 1, HASHES), -1, dtype=np.int64)
    for places in np.array_split(filled, max(1, len(filled) // PATIENTS_PER_BLOCK)):
        if len(places):
            begin, end = offsets[places[0]], offsets[places[-1] + 1]
            own = np.asarray(codes[begin:end])
            for number, order in enumerate(orders):
                found[places, number] = np.minimum.reduceat(order[own], offsets[places] - begin)
    return found


def _jaccard(one: Ints, other: Ints) -> float:
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)
