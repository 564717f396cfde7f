"""All checks of a run, and `validity.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.engine import Engine
from claimscale.errors import Damaged
from claimscale.events.table import day_number
from claimscale.findings import Finding
from claimscale.tokens.store import TokenStore
from claimscale.validity import (
    drift,
    follow_up,
    inputs,
    leakage,
    outcome_validity,
    overlap,
)
from claimscale.validity.check_result import CheckResult
from claimscale.validity.inputs import Candidates, TaskPatients

FILE = "validity.json"
TITLES = {
    "label_leakage": "Label leakage",
    "single_feature": "Single-feature leakage",
    "suspected_only": "Suspected-only positives",
    "prevalent_cases": "Prevalent cases",
    "immortal_time": "Immortal-time guard",
    "split_overlap": "Overlap of splits",
    "pretraining_overlap": "Overlap with pretraining",
    "censoring": "Censoring",
    "single_site_visibility": "Single-site visibility",
    "code_drift": "Code drift",
    "competing_risk": "Competing risk of death",
    "outcome_precursors": "Precursors of the outcome",
}


def check(study: Study, run: Path, report: Callable[[str], None]) -> list[CheckResult]:
    """The results of all checks of a prepared run, those of the whole study first.

    `report` is called with the name of each part before its checks.
    """
    with Engine(study.engine, run) as engine:
        store = TokenStore.load(run / "tokens")
        report("patients and codes")
        found = _of_study(study, run, engine, store)
        for task in study.tasks:
            report(task.name)
            patients = inputs.read_task(study, task, run, engine, store)
            if len(np.unique(patients.outcome)) < 2:
                continue  # labels.json reports the insufficient data
            if task.labels is not None:
                # The outcome's codes are unknown, so only features can be checked.
                results = [_single_feature(patients)]
            else:
                results = _of_task(task, patients)
                if task.first_index_date is None:
                    candidates = inputs.read_candidates(study, task, run, engine, patients)
                    results.append(_immortal_time(study, task, candidates))
            found += [replace(one, task=task.name) for one in results]
    return found


def write(found: Sequence[CheckResult], run: Path, inputs: str) -> None:
    """Write `validity.json`: the results, and the fingerprint of their inputs."""
    content = {"inputs": inputs, "checks": [one.plain() for one in found]}
    artifacts.write_sealed(run / FILE, content)


def read_current(run: Path, inputs: str) -> list[CheckResult] | None:
    """The results in `validity.json`, or None if it is missing, was changed, or has other inputs."""
    try:
        content = artifacts.read_sealed(run / FILE)
        if content["inputs"] != inputs:
            return None
        return [
            CheckResult(**{**one, "finding": Finding.model_validate(one["finding"])})
            for one in content["checks"]
        ]
    except (OSError, Damaged, KeyError, TypeError):
        return None


def line(one: CheckResult) -> str:
    """The result as one line.

    >>> clean = Finding(code="validity.deaths_small")
    >>> line(CheckResult("competing_risk", "passed", {}, clean, "ckd"))
    'passed  ckd: Competing risk of death. Deaths change the risk little.'
    """
    return f"{one.status}  {warning(one)}"


def warning(one: CheckResult) -> str:
    """The result for the report's list of limitations."""
    prefix = f"{one.task}: " if one.task else ""
    return f"{prefix}{TITLES[one.check]}. {one.finding.text}"


def _of_study(study: Study, run: Path, engine: Engine, store: TokenStore) -> list[CheckResult]:
    pretrained, learning = inputs.read_learning_subjects(study, run)
    tests = inputs.read_test_subjects(study, run)
    subjects = np.asarray(store.subjects)
    landmark = day_number(study.cohort.landmark)
    found = [
        overlap.split_overlap(
            subjects, np.isin(subjects, learning), np.isin(subjects, tests),
            np.asarray(store.birth_day), np.asarray(store.sex), np.asarray(store.offsets), store.token,
        ),
        overlap.pretraining_overlap(pretrained, tests, landmark - 1, landmark),
        follow_up.single_site_visibility(inputs.read_hospitals(run, engine)),
    ]  # fmt: skip
    if not study.has_shifted_dates:  # they have no periods in common
        found.append(drift.code_drift(*inputs.read_periods(study, run, store)))
    return found


def _immortal_time(study: Study, task: Task, candidates: Candidates) -> CheckResult:
    return outcome_validity.immortal_time(
        candidates.index_day, candidates.due_day, candidates.observed_until, candidates.eligible,
        candidates.labelled, day_number(study.cohort.landmark),
        (task.gap_days, task.gap_days + task.horizon_days),
    )  # fmt: skip


def _single_feature(patients: TaskPatients) -> CheckResult:
    return leakage.single_feature(
        patients.visible, patients.outcome[patients.sample], patients.other_features
    )


def _of_task(task: Task, patients: TaskPatients) -> list[CheckResult]:
    window, sample = task.gap_days + task.horizon_days, patients.sample
    time, kind = patients.follow_up(window)
    outcome, visible = patients.outcome[sample], patients.visible
    contacts = np.bincount(visible.patient, minlength=len(sample))
    return [
        leakage.label_leakage(
            patients.entries, patients.index_day[sample], outcome, patients.onset_day[sample]
        ),
        _single_feature(patients),
        outcome_validity.suspected_only(
            patients.outcomes, patients.index_day, patients.outcome, task.gap_days, task.horizon_days
        ),
        outcome_validity.prevalent_cases(
            patients.outcomes, patients.treatments, patients.confirming, patients.index_day,
            patients.outcome, task.washout_days,
        ),
        follow_up.censoring(time[sample], kind[sample], contacts, window),
        follow_up.competing_risk(time, kind, window),
        leakage.outcome_precursors(visible, patients.is_precursor, outcome),
    ]  # fmt: skip
