"""How far the patients of a source differ from those of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import CodeCounts
from claimscale.inference.scored_dates import ScoredDates
from claimscale.inference.validation_schema import Codes, CodeShare, Drift
from claimscale.privacy.suppression import Rule
from claimscale.tokens.special_tokens import FIRST_CODE, FIRST_SEX

DRIFTED_CODES = 20
LEAST_SHARE = 1e-4
"""Shares are bounded by it in stability indices."""


def codes_of(counts: CodeCounts, scored: ScoredDates) -> Codes:
    """How much of the claims the package reads."""
    total = max(counts.read + counts.unread, 1)
    return Codes(
        read_share=counts.read / total,
        of_ancestor_share=counts.of_ancestor / total,
        unread_codes=[code for code, _ in counts.unread_codes],
        unread_systems={system: count / total for system, count in counts.unread_systems.items()},
        mean_unread_share=float(scored.measure("unread_share").mean()),
    )


def drift(package: ModelPackage, scored: ScoredDates, rule: Rule | None) -> Drift:
    """The differences; under a rule no code is shown that a small count has or lacks."""
    shares, code_psi = _code_shares(package, scored, rule)
    return Drift(
        outside=outside_shares(package, scored, rule),
        risk_psi=risk_psi(package.reference.risk_deciles, scored.risks),
        code_psi=code_psi,
        codes=shares,
    )


def outside_shares(package: ModelPackage, scored: ScoredDates, rule: Rule | None) -> dict[str, float | None]:
    """By measure, the share of the dates beyond the range of 99 % of the training patients.

    Under a rule it is None where few are beyond, or few within.
    """
    found: dict[str, float | None] = {}
    for name, limits in package.reference.ranges.items():
        values = scored.measure(name)
        beyond = int(((values < limits.low) | (values > limits.high)).sum())
        is_small = rule is not None and (rule.is_small(beyond) or rule.is_small(len(values) - beyond))
        found[name] = None if is_small else beyond / len(values)
    return found


def risk_psi(deciles: Sequence[float], risks: np.ndarray) -> float | None:
    """Population stability index of risks over ten bins with equal shares in the study; None without them."""
    if len(deciles) != 9 or len(set(deciles)) != 9 or not len(risks):
        return None
    counts = np.bincount(np.searchsorted(deciles, risks, side="right"), minlength=10)
    here, there = np.maximum(counts / counts.sum(), LEAST_SHARE), 0.1
    return float(((here - there) * np.log(here / there)).sum())


def _code_shares(
    package: ModelPackage, scored: ScoredDates, rule: Rule | None
) -> tuple[list[CodeShare], float | None]:
    """The codes whose shares of patients differ most from training, and the mean stability index."""
    vocabulary, counts = package.vocabulary, scored.patients_with_code
    trained = int(vocabulary.patients[FIRST_SEX:FIRST_CODE].sum())
    if counts is None or not trained:
        return [], None
    people = int(scored.patient.max(initial=-1)) + 1
    index = code_psi((vocabulary.patients, trained), (counts, people))
    order = most_drifted(index, [(counts, people)], rule)
    shares = [
        CodeShare(
            code=vocabulary.codes[token],
            training=float(vocabulary.patients[token] / trained),
            here=float(counts[token] / people),
        )
        for token in order
    ]
    return shares, float(index[FIRST_CODE:].mean())


Counted = tuple[np.ndarray, int]
"""Patients with each token, int64 [V], and all patients."""


def code_psi(before: Counted, after: Counted) -> np.ndarray:
    """Population stability index of having each token, float64 [V]."""
    there, here = (
        np.clip(counts / people, LEAST_SHARE, 1 - LEAST_SHARE) for counts, people in (before, after)
    )
    return (here - there) * (np.log(here / there) - np.log((1 - here) / (1 - there)))


def most_drifted(index: np.ndarray, shown: Sequence[Counted], rule: Rule | None) -> list[int]:
    """The codes with the largest index; under a rule none of which a shown count or its rest is small."""
    may_show = np.arange(len(index)) >= FIRST_CODE
    if rule is not None:
        for counts, people in shown:
            may_show &= (counts >= rule.least) & (people - counts >= rule.least)
    return [int(token) for token in np.argsort(-index) if may_show[token]][:DRIFTED_CODES]
