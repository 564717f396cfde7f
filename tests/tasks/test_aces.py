"""ACES, an independent program, computes the same labels as claimscale on random cohorts.

`CLAIMSCALE_ACES_COHORTS` is the number of random cohorts per task: a slice by default, 1,000 for the whole.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from claimscale.config.cohort import CohortSettings
from claimscale.config.study import Study
from claimscale.config.tasks import Task, catalogue
from claimscale.engine import Engine
from claimscale.events.table import day_number, timestamps, with_days
from claimscale.sources.raw import EVENT_SCHEMA
from claimscale.tasks import aces as exported, index_dates
from claimscale.tasks.labels import label_index_dates

COHORTS = int(os.environ.get("CLAIMSCALE_ACES_COHORTS", "40"))
PATIENTS_AT_MOST = 8
FIRST, LANDMARK = dt.date(2011, 1, 1), dt.date(2012, 6, 1)
BEGIN, END = dt.date(2009, 6, 1), dt.date(2014, 6, 1)

FROM_CATALOGUE = ("ckd", "stroke", "diabetes", "dementia", "pregabalin", "statins", "insulin", "ssri")
OTHERS = {
    "no_gap": {"gap_days": 0, "washout_days": 90, "horizon_days": 180, "min_history_days": 0},
    "late": {"gap_days": 90, "confirmation_days": 60, "horizon_days": 400, "min_history_days": 200},
    "excluded": {
        "gap_days": 30,
        "horizon_days": 500,
        "exclude": [
            {"codes": {"ATC": ["C10AA"]}, "look_back_days": 300, "window_end_days": -20},
            {"codes": {"ICD10": ["F00", "G30"]}},
        ],
    },
}
MADE = {
    name: Task(name=name, kind="disease", outcome={"ICD10": ["N18", "I63"]}, **rules)
    for name, rules in OTHERS.items()
}
TASKS = {name: catalogue()[name] for name in FROM_CATALOGUE} | MADE


Rows = list[tuple[int, int, str, bool]]


def random_cohorts(task: Task, seed: int) -> pa.Table:
    """Events of COHORTS small cohorts as different from each other as possible, under disjoint subject ids.

    Cohorts differ in size, in how many events a patient has, in how common the outcome is, in how many codes
    are mere suspicions, and in how many patients live at the edges of the task's windows.
    """
    random = np.random.default_rng([seed, *task.name.encode()])
    first, last = day_number(BEGIN), day_number(END)
    rows: Rows = []
    for cohort in range(COHORTS):
        share, events, doubt = random.random() ** 2, int(random.integers(2, 40)), random.random() * 0.4
        at_edges = random.random()
        for patient in range(int(random.integers(1, PATIENTS_AT_MOST + 1))):
            subject = 1 + cohort * PATIENTS_AT_MOST + patient
            rows.append((subject, first - 15_000, "MEDS_BIRTH", False))
            rows.append((subject, first - 15_000, "SEX//F", False))
            if random.random() < at_edges:
                rows += at_the_edges(task, subject, random)
            else:
                rows += anywhere(task, subject, share, events, doubt, random)
            if random.random() < 0.1:
                rows.append((subject, int(random.integers(first, last)), "MEDS_DEATH", False))
    columns = [np.array(column) for column in zip(*sorted(set(rows)), strict=True)]
    return events_table(*columns)


def outcome_code(task: Task, random: np.random.Generator) -> str:
    prefixes = [system + "//" + prefix for system, listed in task.outcome.items() for prefix in listed]
    return str(random.choice(prefixes) + random.choice(["", "1", "9"]))


def anywhere(
    task: Task, subject: int, share: float, events: int, doubt: float, random: np.random.Generator
) -> Rows:
    """Events on any days, with codes inside the prefixes and just outside."""
    unrelated = ["ICD10//A00", "ATC//C10AA05", "ICD10//F001", "ICD10//G309", "ICD10//N17", "ICD9CM//5851"]
    rows: Rows = []
    for day in random.integers(day_number(BEGIN), day_number(END), events).tolist():
        is_outcome = random.random() < share
        code = outcome_code(task, random) if is_outcome else str(random.choice(unrelated))
        rows.append((subject, day, code, bool(random.random() < doubt)))
    return rows


def at_the_edges(task: Task, subject: int, random: np.random.Generator) -> Rows:
    """A patient with few events, each at the start or end of a window of one index date, or a day off."""
    month = np.datetime64("2011-02") + random.integers(0, 15)
    index = int(month.astype("datetime64[D]").astype(int) + random.integers(0, 3))

    def about(day: int) -> int:
        return day + int(random.integers(-1, 2))

    rows = [(subject, index, "ICD10//A00", False)]
    rows.append((subject, about(index - task.min_history_days), "ICD10//A00", False))
    if task.washout_days and random.random() < 0.5:
        rows.append((subject, about(index - task.washout_days), outcome_code(task, random), False))
    for rule in task.exclude:
        code = next(f"{system}//{prefixes[0]}" for system, prefixes in rule.codes.items())
        edge = index + rule.window_end_days if rule.look_back_days is None else index - rule.look_back_days
        if random.random() < 0.5:
            edge = index + rule.window_end_days
        if random.random() < 0.5:
            rows.append((subject, about(edge), code, False))
    onset = about(index + task.gap_days + int(random.choice([0, task.horizon_days])))
    rows.append((subject, onset, outcome_code(task, random), bool(random.random() < 0.1)))
    rows.append((subject, about(onset + (task.confirmation_days or 1)), outcome_code(task, random), False))
    return rows


def events_table(subject: np.ndarray, day: np.ndarray, code: np.ndarray, suspected: np.ndarray) -> pa.Table:
    times = timestamps(day)
    empty = {name: pa.nulls(len(subject)) for name in ("numeric_value", "hospital_id", "visit_id")}
    columns = {"subject_id": subject, "time": times, "code": code, "available_at": times}
    table = pa.table({**columns, **empty, "suspected": suspected.astype(bool)})
    schema = EVENT_SCHEMA.to_pyarrow()
    return table.select(schema.names).cast(schema)


def our_labels(task: Task, events: pa.Table, engine: Engine, study: Study) -> pa.Table:
    """All labels at the first contact of every month, eligible or not."""
    subjects = np.unique(events["subject_id"].to_numpy())
    split = ibis.memtable(pa.table({"subject_id": subjects, "split": ["train"] * len(subjects)}))
    table = with_days(ibis.memtable(events)).inner_join(split, "subject_id")
    made = study.model_copy(update={"cohort": CohortSettings(landmark=LANDMARK, min_events=1)})
    dates = engine.to_arrow(index_dates.visit_dates(table, made, FIRST))
    return engine.to_arrow(label_index_dates(task, dates, table))


def with_index_dates(events: pa.Table, eligible: pa.Table) -> pa.Table:
    """The events with a trigger event per index date, sorted as MEDS wants them."""
    subject, day = eligible["subject_id"].to_numpy(), eligible["index_day"].to_numpy()
    code, no = np.full(len(day), exported.INDEX), np.zeros(len(day))
    marked = pa.concat_tables([events, events_table(subject, day, code, no)])
    return marked.sort_by([("subject_id", "ascending"), ("time", "ascending")])


def aces_labels(configuration: str, events: Path) -> dict[tuple[int, int], bool]:
    """What ACES finds: (subject id, day) of every trigger it lets through, and its label."""
    config = pytest.importorskip("aces.config", reason="es-aces is not installed (the dev extra has it)")
    from aces import predicates, query
    from omegaconf import DictConfig

    logging.disable(logging.WARNING)
    file = events.with_suffix(".yaml")
    file.write_text(configuration, "utf-8")
    task = config.TaskExtractorConfig.load(file)
    data = DictConfig({"path": str(events), "standard": "meds"})
    found = query.query(task, predicates.get_predicates_df(task, data))
    logging.disable(logging.NOTSET)
    if found.is_empty():
        return {}
    days = found["trigger"].to_numpy().astype("datetime64[D]").astype(int).tolist()
    label = found["label"].to_list() if "label" in found.columns else [1] * len(found)
    keys = zip(found["subject_id"].to_list(), days, strict=True)
    return {key: value > 0 for key, value in zip(keys, label, strict=True)}


@pytest.mark.filterwarnings("ignore")  # those of es-aces are not ours to mend
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_aces_finds_the_same_labels(task: Task, engine: Engine, study: Study, tmp_path: Path) -> None:
    pytest.importorskip("aces", reason="es-aces is not installed (the dev extra has it)")
    events = random_cohorts(task, seed=1)
    ours = our_labels(task, events, engine, study)
    data = tmp_path / "events.parquet"
    pq.write_table(with_index_dates(events, ours), data)

    eligible = {
        (row["subject_id"], row["index_day"]): row
        for row in ours.filter(ours["excluded"].is_null()).to_pylist()
    }
    theirs = aces_labels(exported.eligible(task), data)
    assert theirs.keys() == eligible.keys(), "the same index dates are eligible"
    if task.gap_days >= 30:
        # Nothing of the rule is lost: every label must be the same.
        compared = eligible
        positives = aces_labels(exported.positives(task), data)
        found = {key: key in positives for key in eligible}
        assert positives.keys() <= eligible.keys()
    else:
        # An outcome of the index date's own month counts for ACES only.
        compared = {key: row for key, row in eligible.items() if not row["outcome_in_gap"]}
        found = theirs
    expected = {key: row["boolean_value"] for key, row in compared.items()}
    agree = sum(found[key] == label for key, label in expected.items())
    assert agree == len(expected) > 0
    assert 0 < sum(expected.values()) < len(expected), "both labels occur"
    assert set(ours["excluded"].to_pylist()) >= {None, "outcome_before_index"}
    if record := os.environ.get("CLAIMSCALE_ACES_RECORD"):
        entry = {
            "task": task.name,
            "cohorts": COHORTS,
            "index_dates": len(ours),
            "eligible": len(eligible),
            "compared": len(expected),
            "agree": agree,
            "positives": sum(expected.values()),
        }
        with Path(record).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")


def test_every_catalogue_task_is_a_configuration_that_aces_reads(tmp_path: Path) -> None:
    named = catalogue()
    files = exported.export(named, tmp_path)
    assert {file.name.partition(".")[0] for file in files} == set(named)
    for file in files:
        content = yaml.safe_load(file.read_text("utf-8"))
        assert content["trigger"] == "index_date"
        used = {name for window in content["windows"].values() for name in window["has"]}
        assert used <= set(content["predicates"])
    config = pytest.importorskip("aces.config", reason="es-aces is not installed (the dev extra has it)")
    for file in files:
        config.TaskExtractorConfig.load(file)
