from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from claimscale.errors import BadInput
from claimscale.simulator.oracle import Oracle

LANDMARK = int(np.datetime64("2020-10-01").astype(int))
GAP, HORIZON = 30, 365


class Question(NamedTuple):
    """A task's labels, made here from the events by the letter of the protocol."""

    prefix: str
    confirm_days: int | None
    subjects: np.ndarray
    index_days: np.ndarray
    labels: np.ndarray


def ask(claims, prefix: str, confirm_days: int | None) -> Question:
    is_outcome = claims.coded(prefix) & ~claims.suspected
    subjects, index_days, labels = [], [], []
    starts = np.flatnonzero(np.diff(claims.subject, prepend=0))
    for first, last in zip(starts, [*starts[1:], claims.subject.size], strict=True):
        known = claims.available[first:last] < LANDMARK
        if not known.any():
            continue
        index = claims.available[first:last][known].max()
        days, available = claims.day[first:last], claims.available[first:last]
        outcome = is_outcome[first:last]
        if (outcome & (available <= index)).any():
            continue
        later = days[outcome & (available > index)]
        is_in_window = later.size > 0 and index + GAP < later.min() <= index + GAP + HORIZON
        is_confirmed = confirm_days is None or (later.size > 0 and later.max() - later.min() >= confirm_days)
        subjects.append(claims.subject[first])
        index_days.append(index)
        labels.append(is_in_window and is_confirmed)
    return Question(prefix, confirm_days, np.array(subjects), np.array(index_days), np.array(labels))


def answer(oracle: Oracle, question: Question, rows=slice(None), **changes):
    codes = [code for code in oracle.codes if code.startswith(question.prefix)]
    settings = {
        "landmark_day": LANDMARK,
        "outcome_codes": codes,
        "gap_days": GAP,
        "horizon_days": HORIZON,
        "confirmation_days": question.confirm_days,
        "futures": 100,
    }
    return oracle.risk(question.subjects[rows], question.index_days[rows], **(settings | changes))


@pytest.fixture(scope="module")
def oracle(simulation) -> Oracle:
    return Oracle(*simulation)


@pytest.fixture(scope="module")
def ckd(claims) -> Question:
    return ask(claims, "ICD10//N18", 30)


@pytest.fixture(scope="module")
def pregabalin(claims) -> Question:
    return ask(claims, "ATC//N02BF02", None)


@pytest.mark.parametrize("task", ["ckd", "pregabalin"])
def test_risks_are_calibrated_and_rank_patients(request, oracle, task):
    question = request.getfixturevalue(task)
    risks, errors = answer(oracle, question)
    assert np.all((risks >= 0) & (risks <= 1))
    tenths = np.array_split(np.argsort(risks, kind="stable")[-risks.size // 5 :], 5)
    variances = np.array([(risks[rows] * (1 - risks[rows]) + errors[rows] ** 2).sum() for rows in tenths])
    excesses = np.array([(question.labels[rows] - risks[rows]).sum() for rows in tenths])
    assert chi2.sf((excesses**2 / variances).sum(), len(tenths)) > 0.001
    total_error = np.sqrt((risks * (1 - risks)).sum())
    assert abs(question.labels.sum() - risks.sum()) < 3 * total_error
    shuffled = np.random.default_rng(0).permutation(risks)
    reached, chance = (average_precision_score(question.labels, scores) for scores in (risks, shuffled))
    assert reached > 2 * chance


def recent_codes(claims, question: Question) -> np.ndarray:
    """Presence of the 300 most usual codes in the year before the index date, float64 [patients, 300]."""
    column = {code: number for number, code in enumerate(most_usual(claims.code, 300))}
    row_of = {subject: row for row, subject in enumerate(question.subjects)}
    features = np.zeros((question.subjects.size, len(column)))
    for subject, code, available in zip(claims.subject, claims.code, claims.available, strict=True):
        row = row_of.get(subject)
        if row is not None and code in column and 0 <= question.index_days[row] - available < 365:
            features[row, column[code]] = 1
    return features


def most_usual(codes: np.ndarray, count: int) -> list[str]:
    names, counts = np.unique(codes, return_counts=True)
    return names[np.argsort(-counts)[:count]].tolist()


@pytest.mark.parametrize("task", ["ckd", "pregabalin"])
def test_a_model_that_has_seen_the_answers_of_others_does_not_beat_the_oracle(request, oracle, claims, task):
    question = request.getfixturevalue(task)
    features = StandardScaler().fit_transform(recent_codes(claims, question))
    is_test = np.arange(question.labels.size) % 2 == 0
    model = LogisticRegression(C=1e-3, class_weight="balanced", max_iter=300)
    model.fit(features[~is_test], question.labels[~is_test])
    scores = model.decision_function(features[is_test])
    risks, _ = answer(oracle, question, is_test)
    labels, random = question.labels[is_test], np.random.default_rng(0)
    assert roc_auc_score(labels, scores) > 0.6
    lead = []
    for _ in range(200):
        drawn = random.integers(0, labels.size, labels.size)
        reached = [average_precision_score(labels[drawn], values[drawn]) for values in (risks, scores)]
        lead.append(reached[0] - reached[1])
    assert np.quantile(lead, 0.025) > -0.02
    assert np.mean(lead) > 0


def test_tasks_have_cases_enough(ckd, pregabalin):
    assert ckd.labels.sum() > 50
    assert pregabalin.labels.sum() > 50


def test_standard_error_is_that_of_repeated_sampling(oracle, ckd):
    few, few_error = answer(oracle, ckd, slice(0, 200), futures=50)
    many, _ = answer(oracle, ckd, slice(0, 200), futures=800)
    is_moved = few_error > 0
    scores = (few - many)[is_moved] / few_error[is_moved]
    assert 0.6 < np.median(np.abs(scores)) / 0.6745 < 1.4


def test_a_longer_horizon_never_lowers_the_risk(oracle, pregabalin):
    rows = slice(0, 200)
    shorter, longer = (answer(oracle, pregabalin, rows, horizon_days=days)[0] for days in (90, 365))
    assert np.all(longer >= shorter)
    assert longer.mean() > shorter.mean()


def test_asking_for_confirmation_never_raises_the_risk(oracle, ckd):
    rows = slice(0, 200)
    single, confirmed = (answer(oracle, ckd, rows, confirm_days=days)[0] for days in (None, 30))
    assert np.all(confirmed <= single)
    assert confirmed.mean() < single.mean()


def test_a_long_silence_lowers_the_risk(oracle, ckd):
    rows = np.flatnonzero(ckd.index_days == LANDMARK - 1)[:200]
    soon, late = (answer(oracle, ckd, rows, landmark_day=LANDMARK + days)[0] for days in (0, 183))
    assert late.mean() < soon.mean()


def test_risks_do_not_depend_on_the_company(oracle, ckd):
    rows = np.arange(50)
    assert np.array_equal(answer(oracle, ckd, rows[::-1])[0], answer(oracle, ckd, rows)[0][::-1])


def test_the_dead_and_the_impossible_have_no_risk(oracle, claims, ckd):
    known = claims.where(claims.available < LANDMARK)
    is_dead = np.isin(ckd.subjects, known.subject[known.coded("MEDS_DEATH")])
    assert is_dead.any()
    assert not answer(oracle, ckd, is_dead)[0].any()
    assert not answer(oracle, ckd, slice(0, 20), outcome_codes=["ICD10//Z999"])[0].any()


def test_unknown_patients_are_bad_input(oracle):
    with pytest.raises(BadInput, match="subject ids"):
        oracle.risk(np.array([0]), np.array([LANDMARK - 1]), LANDMARK, [], GAP, HORIZON, None)
