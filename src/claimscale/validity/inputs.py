"""The inputs of the checks, read from a run directory: labels, their events, and the visible codes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ibis import Deferred, _

from claimscale.codes.systems import DEATH, TYPES, full_prefixes
from claimscale.cohort.selection import HELD_OUT, TEMPORAL, TRAIN, TUNING, read_patients
from claimscale.config.base import Codes
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.engine import Engine
from claimscale.events import observation
from claimscale.events.table import day_number, read_events
from claimscale.seeded_random import nested_order
from claimscale.tasks import index_dates
from claimscale.tasks.labels import label_index_dates, read_labels
from claimscale.tokens.store import TokenStore
from claimscale.validity.check_result import Bools, Entries, Ints
from claimscale.validity.outcome_validity import Codings
from claimscale.validity.survival import CENSORED, DEATH as DIED, OUTCOME

MAX_PATIENTS = 20_000
"""Patients per task in checks that rank patients by their codes: enough for an AUROC to 0.01."""
PERIOD_DAYS = 365
GROUP_CHARACTERS = {"ICD10": 2, "ICD9CM": 2, "ATC": 4, "YJ": 3}
"""Characters that a code shares with its precursors: N1 for N18, N02B for pregabalin."""
NEVER = -(10**6)


@dataclass(frozen=True)
class TaskPatients:
    """The n labelled patients of one task, without the temporal split.

    Attributes:
        subjects, index_day, observed_until, onset_day, death_day: int [n]; NEVER where there is none.
        outcome: bool [n].
        outcomes, treatments, confirming: the dates of such codes.
        sample: positions of the patients of the checks that read all codes, ascending.
        entries: their codes, by position in `sample`, without hidden codes.
        is_precursor: bool [C], whether a code is a precursor of the outcome.
        other_features: further features by name, [len(sample)] each.
    """

    subjects: Ints
    index_day: Ints
    observed_until: Ints
    onset_day: Ints
    death_day: Ints
    outcome: Bools
    outcomes: Codings
    treatments: Codings
    confirming: Codings
    sample: Ints
    entries: Entries
    is_precursor: Bools
    other_features: Mapping[str, Ints]

    @property
    def visible(self) -> Entries:
        """The codes of the sample that are known on the index date."""
        index = self.index_day[self.sample]
        return self.entries.where(self.entries.available <= index[self.entries.patient])

    def follow_up(self, window: int) -> tuple[Ints, Ints]:
        """Days from the index date to the first event within `window`, and its kind: int [n] each."""
        last = np.clip(self.observed_until - self.index_day, 0, window)
        died = np.where(self.death_day > self.index_day, self.death_day - self.index_day, 2 * window)
        kind = np.where(died <= window, DIED, CENSORED)
        time = np.where(kind == DIED, died, last)
        return (
            np.where(self.outcome, self.onset_day - self.index_day, time),
            np.where(self.outcome, OUTCOME, kind),
        )


def read_task(study: Study, task: Task, run: Path, engine: Engine, store: TokenStore) -> TaskPatients:
    """The inputs of the checks of one task, at one index date per patient.

    Earlier dates of training patients are left out; of every visit the first is used.
    """
    labels = read_labels(run / "labels", task.name)
    labels = labels.filter(pa.array([split != TEMPORAL for split in labels["split"].to_pylist()], pa.bool_()))
    if task.index == "landmark" and task.labels is None:
        due = index_dates.day_before(study.cohort.landmark)
        learns = np.isin(np.asarray(labels["split"].to_pylist(), dtype=str), (TRAIN, TUNING))
        labels = labels.filter(pa.array(~learns | (_days(labels["prediction_time"]) >= due)))
    _values, firsts = np.unique(labels["subject_id"].to_numpy(), return_index=True)
    labels = labels.take(pa.array(firsts))
    subjects = labels["subject_id"].to_numpy()
    index_day = _days(labels["prediction_time"])
    outcome = labels["boolean_value"].to_numpy(zero_copy_only=False)
    events = read_events(engine, run / "events").semi_join(
        ibis.memtable(labels.select(["subject_id"])), "subject_id"
    )
    outcomes = _codings(events, task.outcome, subjects, engine)
    later = ~outcomes.suspected & (outcomes.available > index_day[outcomes.patient])
    deaths = _codings(events, DEATH, subjects, engine)

    sample = np.sort(nested_order(subjects, study.seed)[:MAX_PATIENTS])
    rows = store.rows_of(subjects[sample])
    entries = entries_of(store, rows, store.vocabulary.tokens_with_prefix(task.hidden_codes))
    known = np.bincount(
        entries.patient[entries.available <= index_day[sample][entries.patient]], minlength=len(sample)
    )
    other_features = {
        "age": index_day[sample] - store.birth_day[rows],
        "sex": store.sex[rows],
        "the number of events": known,
        "the index date": index_day[sample],
        "the order of patient ids": subjects[sample],
    }
    return TaskPatients(
        subjects, index_day, _days(labels["observed_until"]),
        _first(outcomes.patient[later], outcomes.day[later], len(subjects)),
        _first(deaths.patient, deaths.day, len(subjects)),
        outcome, outcomes,
        _codings(events, task.hidden_codes, subjects, engine),
        _codings(events, task.confirmation_codes, subjects, engine),
        sample, entries, _precursors(store, task), other_features,
    )  # fmt: skip


@dataclass(frozen=True)
class Candidates:
    """The m patients with enough events before the landmark: int and bool [m]."""

    index_day: Ints
    due_day: Ints
    observed_until: Ints
    eligible: Bools
    labelled: Bools


def read_candidates(
    study: Study, task: Task, run: Path, engine: Engine, patients: TaskPatients
) -> Candidates:
    """Eligibility is computed again from the events known before the landmark alone."""
    at_landmark = study.cohort.model_copy(
        update={"splits": study.cohort.splits.model_copy(update={"temporal_date": None})}
    )
    first_only = study.model_copy(update={"cohort": at_landmark})
    splits = ibis.memtable(read_patients(run / "cohort").select(["subject_id", "split"]))
    table = read_events(engine, run / "events").inner_join(splits, "subject_id")
    landmark = day_number(study.cohort.landmark)
    past = table.filter(_.available_day < landmark)
    events = run / "events"
    known, whole = (
        observation.with_stated(
            engine.to_arrow(index_dates.landmark_dates(part, first_only)), events
        ).sort_by("subject_id")
        for part in (past, table)
    )
    again = label_index_dates(task, known, past, study.cohort.recency_days)
    labelled_again = engine.to_arrow(again).sort_by("subject_id")
    subjects = known["subject_id"].to_numpy()
    due_day = known["index_day"].to_numpy()
    index_day = due_day.copy()
    inside = np.isin(subjects, patients.subjects)
    order = np.argsort(patients.subjects)
    place = order[np.searchsorted(patients.subjects[order], subjects[inside])]
    index_day[inside] = patients.index_day[place]
    eligible = np.array([reason is None for reason in labelled_again["excluded"].to_pylist()])
    return Candidates(index_day, due_day, whole["observed_until"].to_numpy(), eligible, inside)


def read_hospitals(run: Path, engine: Engine) -> Ints:
    """Number of hospitals of each patient of the cohort; 0 where none is named."""
    cohort = read_patients(run / "cohort").select(["subject_id"])
    events = read_events(engine, run / "events").semi_join(ibis.memtable(cohort), "subject_id")
    seen = events.group_by("subject_id").aggregate(hospitals=_.hospital_id.nunique())
    return engine.to_arrow(seen)["hospitals"].to_numpy()


def read_test_subjects(study: Study, run: Path) -> Ints:
    """The test patients of the cohort or of any task."""
    return np.unique(np.concatenate([_subjects(table, learn=False) for table in _tables(study, run)]))


def read_learning_subjects(study: Study, run: Path) -> tuple[Ints, Ints]:
    """Training and tuning patients: of the cohort (as in pretraining), and of the cohort or any task."""
    found = [_subjects(table, learn=True) for table in _tables(study, run)]
    return found[0], np.unique(np.concatenate(found))


def _tables(study: Study, run: Path) -> list[pa.Table]:
    """The cohort, then the labels of each task, with subject_id and split."""
    return [
        read_patients(run / "cohort"),
        *(read_labels(run / "labels", task.name) for task in study.tasks),
    ]


def _subjects(table: pa.Table, learn: bool) -> Ints:
    learns = np.isin(np.array(table["split"].to_pylist(), dtype=str), (TRAIN, TUNING))
    return table["subject_id"].to_numpy()[learns == learn]


def read_periods(study: Study, run: Path, store: TokenStore) -> tuple[Ints, int, Ints, int, tuple[str, ...]]:
    """Patients with each code in the year before the landmark, and in the year before the test.

    The second is the year before `splits.temporal_date`, of test patients. Without that date the two last
    years before the landmark are compared, of training patients.
    """
    landmark = day_number(study.cohort.landmark)
    cohort = read_patients(run / "cohort")
    split = np.array(cohort["split"].to_pylist())
    rows = store.rows_of(cohort["subject_id"].to_numpy()[split == TRAIN])
    later = study.cohort.splits.temporal_date
    if later is None:
        periods = [(rows, landmark - PERIOD_DAYS), (rows, landmark)]
    else:
        tested = store.rows_of(cohort["subject_id"].to_numpy()[split == HELD_OUT])
        periods = [(rows, landmark), (tested, day_number(later))]
    counted = []
    for chosen, end in periods:
        entries = entries_of(store, chosen[:: max(1, len(chosen) // MAX_PATIENTS)], np.zeros(0, np.int32))
        entries = entries.where((entries.day < end) & (entries.day >= end - PERIOD_DAYS))
        pairs = np.unique(entries.patient.astype(np.int64) * len(entries.names) + entries.code)
        patients = np.bincount(pairs % len(entries.names), minlength=len(entries.names))
        counted += [patients, len(np.unique(entries.patient))]
    return counted[0], counted[1], counted[2], counted[3], _names(store)


def entries_of(store: TokenStore, rows: Ints, hidden_tokens: Ints) -> Entries:
    """The tokens of patients (rows of the store) as entries, without `hidden_tokens`."""
    starts = np.asarray(store.offsets[rows])
    lengths = np.asarray(store.offsets[rows + 1]) - starts
    patient = np.repeat(np.arange(len(rows)), lengths)
    place = np.arange(int(lengths.sum())) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    token = store.token[place].astype(np.int64)
    day = store.age_days[place].astype(np.int64) + store.birth_day[rows][patient]
    entries = Entries(patient, token, day, store.available[place].astype(np.int64), _names(store))
    return entries.where(~np.isin(token, hidden_tokens)) if len(hidden_tokens) else entries


def _names(store: TokenStore) -> tuple[str, ...]:
    suspected = TYPES.index("suspected")
    kinds = store.vocabulary.types.tolist()
    return tuple(
        f"{code} (suspected)" if kind == suspected else code
        for code, kind in zip(store.vocabulary.codes, kinds, strict=True)
    )


def _precursors(store: TokenStore, task: Task) -> Bools:
    groups = {
        system: sorted({prefix[: GROUP_CHARACTERS[system]] for prefix in prefixes})
        for system, prefixes in task.outcome.items()
        if system in GROUP_CHARACTERS
    }
    found = np.zeros(store.vocabulary.size, dtype=bool)
    for prefixes in (groups, task.outcome, task.confirmation_codes):
        found[store.vocabulary.tokens_with_prefix(prefixes)] = True
    found[store.vocabulary.tokens_with_prefix(task.hidden_codes)] = False
    return found


def _codings(events: ir.Table, codes: Codes | str, subjects: Ints, engine: Engine) -> Codings:
    """All entries of the codes, by the position of their patient in `subjects`."""
    if isinstance(codes, str):
        starts = [_.code == codes]
    else:
        starts = [_.code.startswith(prefix) for prefix in full_prefixes(codes)]
    matches: Deferred | bool = functools.reduce(operator.or_, starts, False)
    wanted = events.filter(matches)
    table = engine.to_arrow(wanted.select("subject_id", "day", "available_day", "suspected"))
    order = np.argsort(subjects, kind="stable")
    place = order[np.searchsorted(subjects[order], table["subject_id"].to_numpy())]
    return Codings(
        place,
        table["day"].to_numpy(),
        table["available_day"].to_numpy(),
        table["suspected"].to_numpy(zero_copy_only=False),
    )


def _first(patient: Ints, day: Ints, n: int) -> Ints:
    """The first day of each patient; NEVER where there is none."""
    found = np.full(n, -NEVER, dtype=np.int64)
    np.minimum.at(found, patient, day)
    return np.where(found == -NEVER, NEVER, found)


def _days(times: pa.ChunkedArray) -> Ints:
    return times.to_numpy().astype("datetime64[D]").astype(np.int64)
