"""Kaplan-Meier, censoring weights and Aalen-Johansen against a published table and known hazards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from claimscale.validity.survival import aalen_johansen_risk, ipcw_risk, kaplan_meier_risk, survival_before

# Remission in weeks under 6-MP, Freireich et al., Blood 1963;21:699; 0 is censored. The curve is that of
# Klein and Moeschberger, Survival Analysis, table 4.1A.
WEEKS = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35])
RELAPSE = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
PUBLISHED = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
ALIKE = np.zeros(len(WEEKS), dtype=int)


@pytest.mark.parametrize(("week", "survival"), PUBLISHED.items())
def test_kaplan_meier_is_that_of_the_published_table(week: int, survival: float) -> None:
    assert 1 - kaplan_meier_risk(WEEKS, RELAPSE, week) == pytest.approx(survival, abs=5e-4)
    assert survival_before(WEEKS, RELAPSE, np.array([week + 0.5]))[0] == pytest.approx(survival, abs=5e-4)


def simulate(rates: tuple[float, float, float], n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Constant hazards per day of the outcome, death and leaving; what came first, and when."""
    random = np.random.default_rng(seed)
    times = np.stack([random.exponential(1 / rate, n) for rate in rates])
    first = times.argmin(axis=0)
    return times.min(axis=0), np.array([1, 2, 0])[first]


def test_risks_are_those_of_known_hazards() -> None:
    outcome, death, leaving = 0.002, 0.004, 0.003
    time, kind = simulate((outcome, death, leaving), 40_000)
    horizon = 365
    alone = 1 - np.exp(-outcome * horizon)
    with_death = outcome / (outcome + death) * (1 - np.exp(-(outcome + death) * horizon))
    # Four standard errors of a share among those who stay.
    tolerance = 4 * np.sqrt(0.25 / (40_000 * np.exp(-leaving * horizon)))
    assert kaplan_meier_risk(time, kind == 1, horizon) == pytest.approx(alone, abs=tolerance)
    assert aalen_johansen_risk(time, kind, horizon) == pytest.approx(with_death, abs=tolerance)
    assert alone - with_death > 10 * tolerance, "the two answers are different ones"


observations = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 1, 2])), min_size=1, max_size=60)


@given(observations)
def test_outcome_death_and_survival_share_everybody(observed: list[tuple[int, int]]) -> None:
    time, kind = (np.array(column) for column in zip(*observed, strict=True))
    died = np.where(kind == 0, 0, 3 - kind)
    for horizon in (5, 15, 31):
        outcome, death = aalen_johansen_risk(time, kind, horizon), aalen_johansen_risk(time, died, horizon)
        free = 1 - kaplan_meier_risk(time, kind > 0, horizon)
        assert outcome + death + free == pytest.approx(1)
        assert outcome <= kaplan_meier_risk(time, kind == 1, horizon) + 1e-12


@given(observations)
def test_without_censoring_everything_is_the_plain_share(observed: list[tuple[int, int]]) -> None:
    time, kind = (np.array(column) for column in zip(*observed, strict=True))
    event = np.ones(len(time), dtype=bool)
    plain = float((time <= 12).mean())
    assert kaplan_meier_risk(time, event, 12) == pytest.approx(plain)
    assert ipcw_risk(time, event, kind, 12) == pytest.approx(plain)
    share = float(((time <= 12) & (kind != 2)).mean())
    assert aalen_johansen_risk(time, np.where(kind == 2, 2, 1), 12) == pytest.approx(share)


@given(observations)
def test_weights_within_one_stratum_are_kaplan_meier(observed: list[tuple[int, int]]) -> None:
    time, kind = (np.array(column) for column in zip(*observed, strict=True))
    one = np.zeros(len(time), dtype=int)
    # Identical by Satten and Datta's theorem, ties broken alike: events come before censoring.
    assert ipcw_risk(time, kind == 1, one, 12) == pytest.approx(kaplan_meier_risk(time, kind == 1, 12))


def test_weights_are_right_where_those_at_risk_leave() -> None:
    n, horizon = 60_000, 365
    random = np.random.default_rng(3)
    high = random.integers(0, 2, n)
    event_at = random.exponential(1 / np.where(high, 0.003, 0.0005))
    leave_at = random.exponential(1 / np.where(high, 0.006, 0.0002))
    time, event = np.minimum(event_at, leave_at), event_at <= leave_at
    truth = float(np.mean([1 - np.exp(-rate * horizon) for rate in (0.0005, 0.003)]))
    assert ipcw_risk(time, event, high, horizon) == pytest.approx(truth, abs=0.015)
    assert abs(kaplan_meier_risk(time, event, horizon) - truth) > 0.05
