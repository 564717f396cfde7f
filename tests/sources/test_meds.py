"""MEDS datasets are read without loss; sex without a time is dated to the birth."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import meds
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.config.sources import MedsSource
from claimscale.errors import BadInput
from claimscale.sources import meds as meds_dataset
from claimscale.sources.raw import EVENT_SCHEMA


def source(folder: Path) -> MedsSource:
    return MedsSource(kind="meds", path=str(folder))


def test_round_trip_loses_nothing(written, simulated, validated, engine, tmp_path) -> None:
    events, quality = validated(meds_dataset.read(source(written("meds")), engine, tmp_path))
    assert not quality["quarantined"] and not quality["dropped"]
    order = [(name, "ascending") for name in EVENT_SCHEMA]
    assert (
        events.select(list(EVENT_SCHEMA))
        .sort_by(order)
        .equals(simulated.cast(EVENT_SCHEMA.to_pyarrow()).sort_by(order))
    )


@pytest.fixture
def dataset(tmp_path: Path):
    def write(rows: list[tuple], name: str = "train/0.parquet") -> Path:
        columns = [list(column) for column in zip(*rows, strict=True)]
        table = pa.table(columns, schema=meds.DataSchema.schema())
        file = tmp_path / "dataset" / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        return tmp_path / "dataset"

    return write


BIRTH, DAY = dt.datetime(1950, 4, 1), dt.datetime(2020, 1, 5, 13, 30)


def test_facts_without_a_time(dataset, validated, engine, tmp_path) -> None:
    rows = [
        (7, None, "GENDER//Female", None, None),
        (7, None, "RACE//X", None, None),
        (7, BIRTH, "MEDS_BIRTH", None, None),
        (7, DAY, "LAB//718-7", 13.5, None),
        (8, None, "SEX//M", None, None),
    ]
    raw = meds_dataset.read(source(dataset(rows)), engine, tmp_path)
    events, quality = validated(raw)
    found = {
        (row["subject_id"], row["time"], row["code"], row["numeric_value"]) for row in events.to_pylist()
    }
    assert found == {
        (7, BIRTH, "MEDS_BIRTH", None),
        (7, BIRTH, "SEX//F", None),
        (7, DAY, "LAB//718-7", 13.5),
    }
    counts = quality["source_rows"]["data"]
    assert counts["rows"] == 5 and counts["without_event"] == {"fact without a time": 1}
    assert quality["quarantined"] == {"missing time": 1}


def test_a_folder_without_meds_data_is_refused(dataset, engine, tmp_path) -> None:
    with pytest.raises(BadInput, match="absent is not a folder"):
        meds_dataset.files_of(source(tmp_path / "absent"))
    with pytest.raises(BadInput, match="holds no MEDS data"):
        meds_dataset.files_of(source(tmp_path))
    folder = dataset([(7, BIRTH, "MEDS_BIRTH", None, None)])
    file = folder / "data" / "train" / "0.parquet"
    pq.write_table(pq.read_table(file).drop_columns("code"), file)
    with pytest.raises(BadInput, match="has no column code"):
        meds_dataset.read(source(folder), engine, tmp_path)
    pq.write_table(pa.table({"subject_id": ["a"], "time": [BIRTH], "code": ["x"]}), file)
    with pytest.raises(BadInput, match="subject_id holds string, not integers"):
        meds_dataset.read(source(folder), engine, tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("time", ["SECRET"], "time holds string, not timestamp"),
        ("code", [7], "code holds int64, not string"),
        ("suspected", ["SECRET"], "suspected holds string, not boolean"),
        ("numeric_value", ["SECRET"], "numeric_value holds string, not float32"),
    ],
)
def test_columns_of_another_type_are_refused(column, values, message, engine, tmp_path: Path) -> None:
    columns = {"subject_id": [7], "time": [BIRTH], "code": ["MEDS_BIRTH"]} | {column: values}
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "data" / "0.parquet")
    with pytest.raises(BadInput, match=message) as caught:
        meds_dataset.read(source(tmp_path), engine, tmp_path)
    assert "SECRET" not in str(caught.value)
