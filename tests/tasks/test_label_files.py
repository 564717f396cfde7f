"""Labels made elsewhere: every row is used or counted, and what cannot be meant is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.artifacts import read_json
from claimscale.cohort import selection as cohort
from claimscale.config.cohort import CohortSettings, Splits
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.tasks import label_files
from claimscale.tasks.labels import build_labels, read_labels

LATER = dt.date(2010, 5, 1)


def label_table(subjects: list, times: list, values: list) -> pa.Table:
    columns = {"subject_id": subjects, "prediction_time": pa.array(times, pa.timestamp("us"))}
    return pa.table({**columns, "boolean_value": pa.array(values, pa.bool_())})


@pytest.fixture
def given(engine: Engine, study: Study, write_events, claims, tmp_path: Path):
    """Prepared claims of 300 patients, and a function that reads a label table against them."""
    events = write_events(claims.random(300, seed=5))
    splits = Splits(fractions=(0.5, 0.2, 0.3), temporal_date=LATER)
    settings = CohortSettings(landmark=claims.landmark, min_events=3, splits=splits)
    (tmp_path / "cohort").mkdir()
    file = tmp_path / "made.parquet"
    task = Task(name="made", kind="disease", labels=str(file))
    study = study.model_copy(update={"cohort": settings, "tasks": [task]})
    cohort.build(study, engine, events, tmp_path / "cohort")

    def build(table: pa.Table) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        pq.write_table(table, file)
        (tmp_path / "labels").mkdir(exist_ok=True)
        build_labels(study, engine, events, tmp_path / "cohort", tmp_path / "labels")
        meds.LabelSchema.validate(pq.read_table(tmp_path / "labels" / "made.parquet"))
        counted = read_json(tmp_path / "labels" / "labels.json")["made"]
        return read_labels(tmp_path / "labels", "made").to_pylist(), counted

    patients = cohort.read_patients(tmp_path / "cohort")
    split = dict(zip(patients["subject_id"].to_pylist(), patients["split"].to_pylist(), strict=True))
    return SimpleNamespace(build=build, split=split, events=events, study=study)


def good_rows(split: dict[int, str], dates: list[dt.datetime]) -> list[tuple]:
    return [
        (subject, date, (subject + place) % 3 == 0) for subject in split for place, date in enumerate(dates)
    ]


def test_every_row_is_used_or_counted_with_its_reason(given) -> None:
    dates = [dt.datetime(2009, 6, 1), dt.datetime(2009, 9, 1)]
    rows = good_rows(given.split, dates)
    someone = {
        name: next(s for s, split in given.split.items() if split == name) for name in ("train", "held_out")
    }
    rows += [
        (999_999, dates[0], True),  # unknown
        (someone["train"], dt.datetime(1980, 1, 1), False),  # before anything was seen
        (someone["train"], dt.datetime(2010, 2, 1), False),  # after the landmark
        (
            someone["held_out"],
            dt.datetime(2010, 2, 1),
            True,
        ),  # a second index date
        rows[0],
    ]
    found, counted = given.build(label_table(*map(list, zip(*rows, strict=True))))
    excluded = counted["excluded"]
    assert len(found) + sum(excluded.values()) == len(rows)
    assert (excluded["unknown_patient"], excluded["outside_observation"]) == (1, 1)
    assert (excluded["after_landmark"], excluded["repeated_row"], excluded["not_in_cohort"]) == (1, 1, 0)
    training = [s for s, split in given.split.items() if split == "train"]
    assert counted["splits"]["train"]["n"] == 2 * len(training)
    assert counted["splits"]["train"]["patients"] == len(training)
    assert counted["splits"]["temporal"]["n"] == 1
    for row in found:
        assert row["split"] == (
            "temporal" if row["prediction_time"].year == 2010 else given.split[row["subject_id"]]
        )
    others = [row["subject_id"] for row in found if row["split"] not in ("train", "temporal")]
    assert sorted(others) == sorted(s for s, split in given.split.items() if split != "train"), "one each"
    chosen = [row["prediction_time"].month for row in found if row["split"] == "held_out"]
    assert 0.3 < np.mean(np.array(chosen) == 6) < 0.7, "either date may be sampled"


def test_a_time_of_day_counts_as_the_day_before(given) -> None:
    rows = good_rows(given.split, [dt.datetime(2009, 6, 2, 13, 30)])
    found, _ = given.build(label_table(*map(list, zip(*rows, strict=True))))
    assert {row["prediction_time"] for row in found} == {dt.datetime(2009, 6, 1)}


def test_ids_of_the_source_are_looked_up(given) -> None:
    names = {subject: f"P-{subject}" for subject in given.split}
    mapping = pa.table({"subject_id": list(names), "source_id": list(names.values())})
    rows = good_rows(given.split, [dt.datetime(2009, 6, 1)])
    by_id, _ = given.build(label_table(*map(list, zip(*rows, strict=True))))
    text = [(names[subject], *rest) for subject, *rest in rows] + [("nobody", dt.datetime(2009, 6, 1), True)]
    table = label_table(*map(list, zip(*text, strict=True)))
    with pytest.raises(BadInput, match="subject_id is string, but the events' ids are integers"):
        given.build(table)
    pq.write_table(mapping, given.events / "subjects.parquet")
    by_name, counted = given.build(table)
    assert by_name == by_id
    assert counted["excluded"]["unknown_patient"] == 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda table: table.drop_columns("boolean_value"), "has no column boolean_value"),
        (
            lambda table: table.set_column(2, "boolean_value", table["boolean_value"].cast(pa.int8())),
            "not true or",
        ),
        (
            lambda table: table.set_column(1, "prediction_time", table["subject_id"]),
            "prediction_time is not a time",
        ),
        (
            lambda table: pa.concat_tables([table, label_table([3], [None], [True])]),
            "prediction_time is empty",
        ),
        (
            lambda table: pa.concat_tables([table, label_table([3], [dt.datetime(2009, 6, 1)], [False])]),
            "a patient is positive and negative on one day",
        ),
    ],
)
def test_what_is_no_label_file_is_refused(given, change, cause: str) -> None:
    rows = [(subject, dt.datetime(2009, 6, 1), True) for subject in given.split]
    with pytest.raises(BadInput, match=f"task made: labels: .*{cause}") as caught:
        given.build(change(label_table(*map(list, zip(*rows, strict=True)))))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_and_a_changed_one_is_noticed(given, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        label_files.identity(given.study)
    rows = good_rows(given.split, [dt.datetime(2009, 6, 1)])
    given.build(label_table(*map(list, zip(*rows, strict=True))))
    before = label_files.identity(given.study)
    assert before == label_files.identity(given.study)
    given.build(label_table(*map(list, zip(*[(s, d, not v) for s, d, v in rows], strict=True))))
    assert label_files.identity(given.study) != before
