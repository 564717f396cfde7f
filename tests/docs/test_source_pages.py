"""The examples on the pages of docs/sources are true.

With CLAIMSCALE_SPARK_KINDS=all, as in `make test-faults`, on Spark as well.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml

from claimscale import sources
from claimscale.config.execution import EngineSettings
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.events.build import write_events_folder

PAGES = Path(__file__).parents[2] / "docs" / "sources"
BLOCK = re.compile(r"^```(\w+) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> dict[tuple[str, str], str]:
    text = (PAGES / f"{page}.md").read_text("utf-8")
    return {(kind, name): content for kind, name, content in BLOCK.findall(text)}


def write(kind: str, file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        table = pa_csv.read_csv(io.BytesIO(content.encode()))
        index = table.schema.get_field_index("time")
        table = table.set_column(index, "time", table["time"].cast(pa.timestamp("us")))
        pq.write_table(table, file)
    else:
        file.write_bytes(content.replace("⇥", "\t").encode("cp932"))


has_spark = shutil.which("java") is not None and importlib.util.find_spec("pyspark") is not None
needs_spark = pytest.mark.skipif(not has_spark, reason="Spark needs Java 17 and claimscale[spark]")
ON_SPARK = [pytest.param("spark", marks=needs_spark)] if "CLAIMSCALE_SPARK_KINDS" in os.environ else []


@pytest.mark.parametrize("engine_kind", ["duckdb", *ON_SPARK])
@pytest.mark.parametrize("page", ["tables", "jmdc", "mimic", "wide-claims", "dpc", "omop", "meds", "synpuf"])
def test_the_example_of_a_page(
    page: str, engine_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = blocks(page)
    monkeypatch.chdir(tmp_path)
    for (block, name), content in found.items():
        if block in ("file", "parquet"):
            write(block, tmp_path / name, content)
    settings = yaml.safe_load(found["yaml", ""])
    settings |= {"name": "page", "cohort": {"landmark": "2020-01-01"}, "sizes": ["80k"], "tasks": ["ckd"]}
    study = Study.model_validate(settings, strict=False)
    with Engine(EngineSettings(kind=engine_kind, memory="1GB"), tmp_path / "engine") as engine:
        (tmp_path / "scratch").mkdir()
        raw = sources.read(study, engine, tmp_path / "scratch")
        quality = write_events_folder(raw, engine, tmp_path / "gate", tmp_path / "events")
    rows = pq.read_table(tmp_path / "events/data/00000.parquet").to_pylist()
    ids: dict[int, object] = {row["subject_id"]: row["subject_id"] for row in rows}
    if (tmp_path / "events/subjects.parquet").exists():
        numbers = pq.read_table(tmp_path / "events/subjects.parquet").to_pylist()
        ids = {row["subject_id"]: row["source_id"] for row in numbers}
    shown = [
        f"{ids[row['subject_id']]} {row['time']:%Y-%m-%d} {row['code']}{' suspected' * row['suspected']}"
        for row in rows
    ]
    shown += [f"quarantined: {count} {issue}" for issue, count in quality["quarantined"].items()]
    assert sorted(shown) == sorted(found["events", ""].splitlines())
