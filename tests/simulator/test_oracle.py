from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from claimscale.errors import BadInput
from claimscale.simulator.oracle import LabelRule, Oracle

LANDMARK = int(np.datetime64("2020-10-01").astype(int))
GAP, HORIZON = 30, 365
Rows = slice | np.ndarray
ALL = slice(None)


class LabelledTask(NamedTuple):
    """A task's labels, computed here from the events by the label definition."""

    prefix: str
    confirmation_days: int | None
    subjects: np.ndarray
    index_days: np.ndarray
    labels: np.ndarray


def label(claims, prefix: str, confirmation_days: int | None) -> LabelledTask:
    is_outcome = claims.coded(prefix) & ~claims.suspected
    subjects, index_days, labels = [], [], []
    starts = np.flatnonzero(np.diff(claims.subject, prepend=0))
    for first, last in zip(starts, [*starts[1:], claims.subject.size], strict=True):
        index = LANDMARK - 1
        if not (claims.available[first:last] <= index).any():
            continue
        days, available = claims.day[first:last], claims.available[first:last]
        outcome = is_outcome[first:last]
        if (outcome & (available <= index)).any():
            continue
        later = days[outcome & (available > index)]
        is_in_window = later.size > 0 and index + GAP < later.min() <= index + GAP + HORIZON
        is_confirmed = later.size > 0 and later.max() - later.min() >= (confirmation_days or 0)
        subjects.append(claims.subject[first])
        index_days.append(index)
        labels.append(is_in_window and is_confirmed)
    return LabelledTask(prefix, confirmation_days, np.array(subjects), np.array(index_days), np.array(labels))


def risks_of(
    oracle: Oracle, task: LabelledTask, rows: Rows = ALL, futures: int = 100, **changes: Any
) -> tuple[np.ndarray, np.ndarray]:
    codes = [code for code in oracle.codes if code.startswith(task.prefix)]
    rule = LabelRule(codes, GAP, HORIZON, task.confirmation_days)._replace(**changes)
    return oracle.risk(task.subjects[rows], task.index_days[rows], rule, futures)


@pytest.fixture(scope="module")
def oracle(simulation) -> Oracle:
    return Oracle(simulation)


@pytest.fixture(scope="module")
def ckd(claims) -> LabelledTask:
    return label(claims, "ICD10//N18", 30)


@pytest.fixture(scope="module")
def pregabalin(claims) -> LabelledTask:
    return label(claims, "ATC//N02BF02", None)


@pytest.mark.parametrize("task", ["ckd", "pregabalin"])
def test_risks_are_calibrated_and_rank_patients(request, oracle, task):
    labelled = request.getfixturevalue(task)
    risks, errors = risks_of(oracle, labelled)
    assert np.all((risks >= 0) & (risks <= 1))
    tenths = np.array_split(np.argsort(risks, kind="stable")[-risks.size // 5 :], 5)
    variances = np.array([(risks[rows] * (1 - risks[rows]) + errors[rows] ** 2).sum() for rows in tenths])
    excesses = np.array([(labelled.labels[rows] - risks[rows]).sum() for rows in tenths])
    assert chi2.sf((excesses**2 / variances).sum(), len(tenths)) > 0.001
    total_error = np.sqrt((risks * (1 - risks)).sum())
    assert abs(labelled.labels.sum() - risks.sum()) < 3 * total_error
    shuffled = np.random.default_rng(0).permutation(risks)
    reached, chance = (average_precision_score(labelled.labels, scores) for scores in (risks, shuffled))
    assert reached > 2 * chance


def recent_codes(claims, labelled: LabelledTask) -> np.ndarray:
    """Presence of the 300 most usual codes in the year before the index date, float64 [patients, 300]."""
    column = {code: number for number, code in enumerate(most_usual(claims.code, 300))}
    row_of = {subject: row for row, subject in enumerate(labelled.subjects)}
    features = np.zeros((labelled.subjects.size, len(column)))
    for subject, code, available in zip(claims.subject, claims.code, claims.available, strict=True):
        row = row_of.get(subject)
        if row is not None and code in column and 0 <= labelled.index_days[row] - available < 365:
            features[row, column[code]] = 1
    return features


def most_usual(codes: np.ndarray, count: int) -> list[str]:
    names, counts = np.unique(codes, return_counts=True)
    return names[np.argsort(-counts)[:count]].tolist()


@pytest.mark.parametrize("task", ["ckd", "pregabalin"])
def test_a_trained_model_does_not_beat_the_oracle(request, oracle, claims, task):
    labelled = request.getfixturevalue(task)
    features = StandardScaler().fit_transform(recent_codes(claims, labelled))
    is_test = np.arange(labelled.labels.size) % 2 == 0
    model = LogisticRegression(C=1e-3, class_weight="balanced", max_iter=300)
    model.fit(features[~is_test], labelled.labels[~is_test])
    scores = model.decision_function(features[is_test])
    risks, _ = risks_of(oracle, labelled, is_test)
    labels, random = labelled.labels[is_test], np.random.default_rng(0)
    assert roc_auc_score(labels, scores) > 0.6
    lead = []
    for _ in range(200):
        sampled = random.integers(0, labels.size, labels.size)
        reached = [average_precision_score(labels[sampled], values[sampled]) for values in (risks, scores)]
        lead.append(reached[0] - reached[1])
    assert np.quantile(lead, 0.025) > -0.02
    assert np.mean(lead) > 0


def test_tasks_have_cases_enough(ckd, pregabalin):
    assert ckd.labels.sum() > 50
    assert pregabalin.labels.sum() > 50


def test_standard_error_is_that_of_repeated_sampling(oracle, ckd):
    few, few_error = risks_of(oracle, ckd, slice(0, 200), futures=50)
    many, _ = risks_of(oracle, ckd, slice(0, 200), futures=800)
    is_moved = few_error > 0
    scores = (few - many)[is_moved] / few_error[is_moved]
    assert 0.6 < np.median(np.abs(scores)) / 0.6745 < 1.4


def test_a_longer_horizon_never_lowers_the_risk(oracle, pregabalin):
    rows = slice(0, 200)
    shorter, longer = (risks_of(oracle, pregabalin, rows, horizon_days=days)[0] for days in (90, 365))
    assert np.all(longer >= shorter)
    assert longer.mean() > shorter.mean()


def test_a_required_confirmation_never_raises_the_risk(oracle, ckd):
    rows = slice(0, 200)
    single, confirmed = (risks_of(oracle, ckd, rows, confirmation_days=days)[0] for days in (None, 30))
    assert np.all(confirmed <= single)
    assert confirmed.mean() < single.mean()


def test_a_risk_does_not_depend_on_other_patients(oracle, ckd):
    rows = np.arange(50)
    assert np.array_equal(risks_of(oracle, ckd, rows[::-1])[0], risks_of(oracle, ckd, rows)[0][::-1])


def test_the_dead_and_the_impossible_have_no_risk(oracle, claims, ckd):
    known = claims.where(claims.available < LANDMARK)
    is_dead = np.isin(ckd.subjects, known.subject[known.coded("MEDS_DEATH")])
    assert is_dead.any()
    assert not risks_of(oracle, ckd, is_dead)[0].any()
    assert not risks_of(oracle, ckd, slice(0, 20), outcome_codes=["ICD10//Z999"])[0].any()


def test_unknown_patients_are_bad_input(oracle):
    with pytest.raises(BadInput, match="subject ids"):
        oracle.risk(np.array([0]), np.array([LANDMARK - 1]), LabelRule([], GAP, HORIZON))
