"""Do codes mean the same in the time that trains and in the time that tests?"""

from __future__ import annotations

import numpy as np

from claimscale.validity.finding import Finding, Ints, finding

STABLE = 0.25
"""A population stability index above this is a major shift by the rule of credit scoring (Siddiqi 2006)."""
COMMON = 0.01
LEAST_CARRIERS = 20
NAMED = 3


def code_drift(
    before: Ints, patients_before: int, after: Ints, patients_after: int, names: tuple[str, ...]
) -> Finding:
    """Which codes appear or vanish between two periods, and how far their shares have moved.

    `before` and `after` int [C] count the patients with each code in a period of equal length, of
    `patients_before` and `patients_after`. Warns if a code of 1 % of patients or more (and twenty) in one
    period has none in the other, or if the population stability index of the codes' shares exceeds 0.25
    over what chance gives, (C - 1)(1/N + 1/M) (Yurdakul and Naranjo, J Risk Model Valid 2020;14:89).
    """
    appear, vanish = (
        (one == 0) & (other >= np.maximum(COMMON * patients, LEAST_CARRIERS))
        for one, other, patients in ((before, after, patients_after), (after, before, patients_before))
    )
    index, chance = _stability(before, after)
    evidence = {
        "codes_that_appear": float(appear.sum()),
        "codes_that_vanish": float(vanish.sum()),
        "population_stability_index": index,
        "index_by_chance": chance,
    }
    problems = []
    for found, counts, what in ((appear, after, "new in the later"), (vanish, before, "gone from the later")):
        if found.any():
            most = np.flatnonzero(found)[np.argsort(-counts[found], kind="stable")]
            listed = ", ".join(names[place] for place in most[:NAMED])
            more = f" and {len(most) - NAMED} more" if len(most) > NAMED else ""
            problems.append(f"Common codes are {what} period: {listed}{more}")
    if index - chance > STABLE:
        problems.append(f"The shares of codes have moved (population stability index {index:.2f})")
    return finding("code_drift", problems, f"Codes are used alike (stability index {index:.2f})", evidence)


def _stability(before: Ints, after: Ints) -> tuple[float, float]:
    used = (before + after) > 0
    total_before, total_after = int(before.sum()), int(after.sum())
    if not total_before or not total_after:
        return 0.0, 0.0
    # Half a patient keeps codes of one period from making the index infinite.
    p, q = ((counts[used] + 0.5) / (counts[used] + 0.5).sum() for counts in (before, after))
    chance = (int(used.sum()) - 1) * (1 / total_before + 1 / total_after)
    return float(((q - p) * np.log(q / p)).sum()), chance
