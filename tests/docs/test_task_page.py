"""The examples of docs/tasks.md and docs/task-labels.md are true."""

from __future__ import annotations

import datetime as dt
import io
import re
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
import yaml

from claimscale.config import loading
from claimscale.config.execution import EngineSettings
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.table import EPOCH, with_days
from claimscale.tasks import index_dates
from claimscale.tasks.labels import label_index_dates

DOCS = Path(__file__).parents[2] / "docs"
PAGE = "".join((DOCS / name).read_text("utf-8") for name in ("tasks.md", "task-labels.md"))
BLOCKS = re.findall(r"^```(\w+) (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
BY_NAME = {name: content for _, name, content in BLOCKS}


def study_of(tasks: list) -> Study:
    settings = {"name": "page", "source": {"kind": "simulated"}, "sizes": ["80k"], "tasks": tasks}
    settings["cohort"] = {"landmark": dt.date(2020, 1, 1), "min_events": 1}
    return loading.validated(Study, settings, "study.yaml")


def test_every_example_is_a_task() -> None:
    found = [yaml.safe_load(content) for _, name, content in BLOCKS if name == "task"]
    assert len(found) == 5
    for tasks in found:
        assert study_of(tasks).tasks[0].name == tasks[0]["name"]


def test_refused_tasks_are_refused_with_the_reason_given() -> None:
    cases = re.findall(r"^- (.+)\n# (.+)$", BY_NAME["refused"], re.MULTILINE)
    assert len(cases) == 6
    for line, reason in cases:
        with pytest.raises(BadInput) as caught:
            study_of([yaml.safe_load(line)])
        assert str(caught.value).startswith(f"study.yaml: {reason}")


def test_the_worked_example(tmp_path: Path) -> None:
    study = study_of(yaml.safe_load(BLOCKS[0][2]))
    given = pa_csv.read_csv(io.BytesIO(BY_NAME["claims"].encode()))
    times = {
        "time": given["day"].cast(pa.timestamp("us")),
        "available_at": given["known"].cast(pa.timestamp("us")),
    }
    subjects = given["patient"]
    no = pa.array([False] * len(given))
    events = pa.table({"subject_id": subjects, "code": given["code"], "suspected": no, **times})
    split = pa.array(["held_out"] * len(given))
    table = with_days(ibis.memtable(events.append_column("split", split)))
    with Engine(EngineSettings(), tmp_path) as engine:
        dates = engine.to_arrow(index_dates.landmark_dates(table, study))
        labels = engine.to_arrow(
            label_index_dates(study.tasks[0], dates, table, study.cohort.recency_days)
        ).to_pylist()
    shown = []
    for row in labels:
        day = EPOCH + dt.timedelta(days=row["index_day"])
        if row["excluded"] is None:
            label = "positive" if row["boolean_value"] else "negative"
            shown.append(f"{row['subject_id']} on {day}: {label}")
        else:
            shown.append(f"{row['subject_id']} on {day}: not eligible, {row['excluded']}")
    assert shown == BY_NAME["labels"].splitlines()
