"""Code drift: changes of codes between the training period and the test period."""

from __future__ import annotations

import numpy as np

from claimscale.findings import Finding, finding
from claimscale.validity.check_result import Bools, CheckResult, Ints, check_result

MAJOR_SHIFT = 0.25
"""Population stability index of a major shift (Siddiqi 2006)."""
COMMON = 0.01
MIN_CARRIERS = 20
MAX_NAMED = 3


def code_drift(
    before: Ints, patients_before: int, after: Ints, patients_after: int, names: tuple[str, ...]
) -> CheckResult:
    """Codes that appear or vanish between two periods, and the shift of their shares.

    `before` and `after` int [C] count the patients with each code in two periods of equal length, of
    `patients_before` and `patients_after`. Warns if a code of at least 1 % of patients (and of 20) in one
    period is absent in the other, or if the population stability index of the codes' shares exceeds its
    expectation without a shift, (C - 1)(1/N + 1/M), by 0.25 (Yurdakul and Naranjo, J Risk Model Valid
    2020;14:89).
    """
    appear, vanish = (
        (one == 0) & (other >= np.maximum(COMMON * patients, MIN_CARRIERS))
        for one, other, patients in ((before, after, patients_after), (after, before, patients_before))
    )
    index, expected = _stability(before, after)
    evidence = {
        "codes_that_appear": float(appear.sum()),
        "codes_that_vanish": float(vanish.sum()),
        "population_stability_index": index,
        "expected_index": expected,
    }
    problems = []
    if appear.any():
        problems.append(finding("validity.codes_appear", codes=_most(appear, after, names)))
    if vanish.any():
        problems.append(finding("validity.codes_vanish", codes=_most(vanish, before, names)))
    if index - expected > MAJOR_SHIFT:
        problems.append(finding("validity.codes_drift", index=index))
    return check_result("code_drift", problems, finding("validity.codes_stable", index=index), evidence)


def _most(found: Bools, counts: Ints, names: tuple[str, ...]) -> list[str | Finding]:
    """The most frequent of the codes found, and how many more there are."""
    most = np.flatnonzero(found)[np.argsort(-counts[found], kind="stable")].tolist()
    listed: list[str | Finding] = [names[place] for place in most[:MAX_NAMED]]
    return listed + [finding("number.more", n=len(most) - MAX_NAMED)] * (len(most) > MAX_NAMED)


def _stability(before: Ints, after: Ints) -> tuple[float, float]:
    """The population stability index, and its expectation without a shift."""
    used = (before + after) > 0
    total_before, total_after = int(before.sum()), int(after.sum())
    if not total_before or not total_after:
        return 0.0, 0.0
    # Half a patient keeps codes of one period from making the index infinite.
    p, q = ((counts[used] + 0.5) / (counts[used] + 0.5).sum() for counts in (before, after))
    expected = (int(used.sum()) - 1) * (1 / total_before + 1 / total_after)
    return float(((q - p) * np.log(q / p)).sum()), expected
