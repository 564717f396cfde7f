"""All checks of a run, one after another; `validity.json`; and what is said of them on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.engine import Engine
from claimscale.events import build as event_table
from claimscale.tokens.store import TokenStore
from claimscale.validity import (
    drift,
    follow_up,
    inputs as evidence,
    leakage,
    outcome_checks as cases,
    overlap as separation,
)
from claimscale.validity.finding import Finding
from claimscale.validity.inputs import Asked

FILE = "validity.json"
TITLES = {
    "label_leakage": "Label leakage by claim month",
    "single_feature": "A single feature that gives the outcome away",
    "suspected_only": "Positives by suspicion alone",
    "prevalent_cases": "Prevalent cases",
    "immortal_time": "Immortal time",
    "split_overlap": "Patients on both sides of a split",
    "pretraining_overlap": "Pretraining on test patients",
    "censoring": "Censoring",
    "visibility": "Seen in one hospital only",
    "code_drift": "Drift of codes",
    "competing_death": "Competing death",
    "outcome_history": "The outcome's own precursors",
}


def check(study: Study, run: Path, report: Callable[[str], None]) -> list[Finding]:
    """All findings of a prepared run, those of the whole study first; `report` is told what is looked at."""
    with Engine(study.engine, run) as engine:
        store = TokenStore.load(run / "tokens")
        report("patients and codes")
        found = _of_study(study, run, engine, store)
        for task in study.tasks:
            report(task.name)
            asked = evidence.read_task(study, task, run, engine, store)
            if len(np.unique(asked.outcome)) < 2:
                continue  # a shortage, which the labels tell of: there is nothing to compare
            if task.labels is not None:
                # Whoever made the labels knows the outcome's codes; here only features can be judged.
                ours = [leakage.single_feature(asked.visible, asked.outcome[asked.sample], asked.facts)]
            else:
                ours = _of_task(task, asked)
                if task.first_index_date is None:
                    ours.append(
                        _immortal_time(task, evidence.read_candidates(study, task, run, engine, asked))
                    )
            found += [replace(one, task=task.name) for one in ours]
    return found


def write(found: Sequence[Finding], run: Path, inputs: str) -> None:
    """Write `validity.json`: the findings, and the fingerprint of what they were made from."""
    content = {"inputs": inputs, "checks": [one.plain() for one in found]}
    artifacts.write_json(run / FILE, content)


def read_current(run: Path, inputs: str) -> list[Finding] | None:
    """The findings of `validity.json`, or None if it is missing or of other inputs."""
    try:
        content = artifacts.read_json(run / FILE)
        if content["inputs"] != inputs:
            return None
        return [Finding(**one) for one in content["checks"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def line(one: Finding) -> str:
    """One line per check and task.

    >>> line(Finding("censoring", "passed", {}, "Nobody leaves.", "ckd"))
    'passed  ckd: Censoring. Nobody leaves.'
    """
    return f"{one.status}  {warning(one)}"


def warning(one: Finding) -> str:
    """The finding for the report's list of warnings."""
    prefix = f"{one.task}: " if one.task else ""
    return f"{prefix}{TITLES[one.check]}. {one.sentence}"


def _of_study(study: Study, run: Path, engine: Engine, store: TokenStore) -> list[Finding]:
    pretrained, learning = evidence.read_learning_subjects(study, run)
    tests = evidence.read_test_subjects(study, run)
    subjects = np.asarray(store.subjects)
    landmark = event_table.day_number(study.cohort.landmark)
    return [
        separation.split_overlap(
            subjects, np.isin(subjects, learning), np.isin(subjects, tests),
            np.asarray(store.birth_day), np.asarray(store.sex), np.asarray(store.offsets), store.token,
        ),
        separation.pretraining_overlap(pretrained, tests, landmark - 1, landmark),
        follow_up.visibility(evidence.read_hospitals(run, engine)),
        drift.code_drift(*evidence.read_periods(study, run, store)),
    ]  # fmt: skip


def _immortal_time(task: Task, candidates: evidence.Candidates) -> Finding:
    return cases.immortal_time(
        candidates.index_day, candidates.last_known_day, candidates.observed_until,
        candidates.eligible, candidates.asked, task.gap_days + task.horizon_days,
    )  # fmt: skip


def _of_task(task: Task, asked: Asked) -> list[Finding]:
    window = task.gap_days + task.horizon_days
    time, kind = asked.follow_up(window)
    outcome, index_day = asked.outcome[asked.sample], asked.index_day[asked.sample]
    visible = asked.visible
    contacts = np.bincount(visible.patient, minlength=len(asked.sample))
    return [
        leakage.label_leakage(asked.entries, index_day, outcome, asked.onset_day[asked.sample]),
        leakage.single_feature(visible, outcome, asked.facts),
        cases.suspected_only(
            asked.outcomes, asked.index_day, asked.outcome, task.gap_days, task.horizon_days
        ),
        cases.prevalent_cases(
            asked.outcomes, asked.treatments, asked.confirming, asked.index_day, asked.outcome,
            task.washout_days,
        ),
        follow_up.censoring(time[asked.sample], kind[asked.sample], contacts, window),
        follow_up.competing_death(time, kind, window),
        leakage.outcome_history(visible, asked.is_precursor, outcome),
    ]  # fmt: skip
