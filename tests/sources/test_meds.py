"""MEDS datasets are read without loss; sex without a time is dated to the birth."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import meds
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from claimscale.config.execution import EngineSettings
from claimscale.config.sources import MedsSource
from claimscale.engine import Engine
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


CODES = pa.array(["MEDS_BIRTH", "LAB//718-7"])
TIMES = [dt.datetime(1950, 4, 1), dt.datetime(2020, 1, 5, 23, 30)]


def times(kind: pa.DataType) -> dict[str, pa.Array]:
    return {"time": pa.array(TIMES).cast(kind)}


TYPES: dict[str, dict[str, pa.Array]] = {
    **{f"timestamp in {unit}": times(pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
    **{f"timestamp in {unit} of UTC": times(pa.timestamp(unit, tz="UTC")) for unit in ("ms", "us", "ns")},
    **{
        f"timestamp in {unit} of {zone}": {
            "time": pc.assume_timezone(pa.array(TIMES, pa.timestamp(unit)), zone)
        }
        for unit, zone in (("ns", "America/New_York"), ("us", "Asia/Tokyo"), ("ms", "+09:30"))
    },
    "large_string": {"code": CODES.cast(pa.large_string())},
    "string_view": {"code": CODES.cast(pa.string_view())},
    "dictionary": {"code": CODES.dictionary_encode()},
    "bytes": {"code": CODES.cast(pa.binary())},
    "int16 id": {"subject_id": pa.array([7, 7], pa.int16())},
    "uint64 id": {"subject_id": pa.array([7, 7], pa.uint64())},
    "decimal id": {"subject_id": pa.array([7, 7]).cast(pa.decimal128(20, 0))},
    "float64 number": {"numeric_value": pa.array([None, 13.5])},
    "decimal number": {"numeric_value": pa.array([None, 13.5]).cast(pa.decimal128(8, 2))},
    "large_string hospital": {"hospital_id": pa.array(["H", "H"], pa.large_string())},
    "dictionary visit": {"visit_id": pa.array(["V", "V"]).dictionary_encode()},
    "available in ns of UTC": {"available_at": pa.array(TIMES).cast(pa.timestamp("ns", tz="UTC"))},
    "no number at all": {"numeric_value": pa.nulls(2)},
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_other_writers_give_the_same_events(kind: str, ingest) -> None:
    plain = {"subject_id": pa.array([7, 7]), "code": CODES, **times(pa.timestamp("us"))}
    events, quality = ingest({"data/0.parquet": pa.table(plain | TYPES[kind])}, kind="meds")
    found = [(row["subject_id"], row["time"], row["code"]) for row in events]
    assert sorted(found) == [(7, day, code) for day, code in zip(TIMES, CODES.to_pylist(), strict=True)]
    assert {row["numeric_value"] for row in events} == {None} | (
        {13.5} if "number" in kind and "all" not in kind else set()
    )
    assert not quality["quarantined"] and not quality["repaired"]


def test_days_and_mixed_case_columns(ingest) -> None:
    columns = {"Subject_ID": pa.array([7, 7]), "Time": pa.array(TIMES).cast(pa.date32()), "CODE": CODES}
    events, quality = ingest({"data/0.parquet": pa.table(columns)}, kind="meds")
    assert sorted(row["time"].date() for row in events) == [day.date() for day in TIMES]
    assert not quality["quarantined"]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_the_zone_of_the_machine_does_not_matter(zone: str, engine, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with Engine(EngineSettings(memory="500MB"), tmp_path / "engine") as own:
            given = pa.table({"time": pa.array(TIMES).cast(pa.timestamp("us", tz="UTC"))})
            pq.write_table(given, tmp_path / "times.parquet")
            table = own.read_parquet(tmp_path / "times.parquet").order_by("time")
            found = own.to_arrow(table.select(time=table.time.cast("timestamp(6)")))["time"].to_pylist()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found == TIMES
