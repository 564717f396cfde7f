"""The gate accounts for every row, and what passes it is sound."""

from __future__ import annotations

from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale import sources
from claimscale.corpus import events as event_table
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.runs import read_json
from claimscale.sources.raw import RawEvents
from claimscale.study import Study

CODE = "ICD10//N189"


def faults(claims) -> dict[str, list]:
    """For each reason, rows that must be dropped for it; patient 1 is sound, 2 died, 3 is unknown."""
    event = claims.event
    return {
        "missing patient": [event(None, 10, CODE)],
        "missing code": [event(1, 10, None), event(1, 11, "  ")],
        "missing time": [event(1, None, CODE, available_day=10)],
        "outside 1900-2100": [event(1, -30_000, CODE), event(1, 10, CODE, available_day=80_000)],
        "unknown patient": [event(3, 10, CODE)],
        "contradicts another birth date": [event(1, 5, "MEDS_BIRTH")],
        "contradicts another death date": [event(2, 90, "MEDS_DEATH")],
        "before birth": [event(1, -10_001, CODE)],
        "after death": [event(2, 101, CODE), event(2, 500, CODE)],
        "exact duplicate": [event(1, 20, CODE)],
    }


def sound(claims) -> list:
    event = claims.event
    first = [*claims.born(1), event(1, 20, CODE), event(1, 20, CODE, suspected=True)]
    return [*first, *claims.born(2, "M"), event(2, 100, "MEDS_DEATH"), event(2, 100, CODE)]


def test_each_fault_is_dropped_for_its_reason_and_rows_add_up(claims, engine: Engine, tmp_path: Path) -> None:
    planted = faults(claims)
    rows = sound(claims) + [row for listed in planted.values() for row in listed]
    quality = event_table.pass_gate(claims.raw(rows), engine, tmp_path / "clean.parquet")
    assert quality["dropped"] == {reason: len(listed) for reason, listed in planted.items()}
    assert quality["rows_in"] == len(rows)
    assert quality["used"] == len(sound(claims)) == pq.read_metadata(tmp_path / "clean.parquet").num_rows
    assert quality["rows_in"] == quality["used"] + sum(quality["dropped"].values())


def test_sound_rows_raise_no_alarm(claims, engine: Engine, tmp_path: Path) -> None:
    quality = event_table.pass_gate(claims.raw(sound(claims)), engine, tmp_path / "clean.parquet")
    assert quality["dropped"] == {}
    assert quality["repaired"] == {}


def test_nothing_is_known_before_it_happens(claims, engine: Engine, tmp_path: Path) -> None:
    rows = [*claims.born(1), claims.event(1, 20, CODE, available_day=5)]
    quality = event_table.pass_gate(claims.raw(rows), engine, tmp_path / "clean.parquet")
    assert quality["repaired"] == {"known before it happened": 1}
    clean = pq.read_table(tmp_path / "clean.parquet").to_pylist()
    assert all(row["available_at"] >= row["time"] for row in clean)


def test_shards_hold_whole_patients_in_order(claims, write_events) -> None:
    rows = claims.random(30, seed=1)
    folder = write_events(rows, shard_rows=200)
    shards = [pq.read_table(file) for file in sorted((folder / "data").glob("*.parquet"))]
    assert len(shards) > 3
    for shard in shards:
        meds.DataSchema.validate(shard)  # raises where it is not MEDS data
    seen = [set(shard["subject_id"].to_pylist()) for shard in shards]
    assert sum(len(subjects) for subjects in seen) == 30
    together = pa.concat_tables(shards)
    assert len(together) == len(set(rows))
    order = list(zip(together["subject_id"].to_pylist(), together["time"].to_pylist(), strict=True))
    assert order == sorted(order)


def test_shard_bytes_do_not_depend_on_the_order_of_rows(claims, write_events) -> None:
    rows = claims.random(5, seed=2)
    one, other = write_events(rows, "one"), write_events(rows[::-1], "other")
    assert (one / "data/00000.parquet").read_bytes() == (other / "data/00000.parquet").read_bytes()


def test_days_before_1970_count_backwards(claims, engine: Engine, write_events) -> None:
    folder = write_events([*claims.born(1, day=-10_000), claims.event(1, -1, CODE, available_day=0)])
    table = engine.to_arrow(event_table.read(engine, folder).order_by("day"))
    assert table["day"].to_pylist() == [-10_000, -10_000, -1]
    assert table["available_day"].to_pylist() == [-10_000, -10_000, 0]
    assert table["demographic"].to_pylist() == [True, True, False]
    assert event_table.timestamps(np.array([-1]))[0].as_py().date().isoformat() == "1969-12-31"


def test_build_writes_events_and_their_account(
    claims, engine: Engine, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "read", lambda *_: claims.raw(sound(claims)))
    event_table.build(study, engine, tmp_path)
    quality = read_json(tmp_path / "quality.json")
    assert (quality["patients"], quality["codes"], quality["hospitals"]) == (2, 5, 0)
    assert quality["span"] == ["1970-01-21", "1970-04-11"]
    assert not (tmp_path / "subjects.parquet").exists()


def test_build_keeps_the_sources_own_ids(
    claims, engine: Engine, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = engine.to_arrow(claims.raw([]).table.select("subject_id"))
    mapping = pa.table({"source_id": ["B", "A"], "subject_id": pa.array([2, 1], ids.schema[0].type)})
    pq.write_table(mapping, tmp_path / "ids.parquet")
    subjects = engine.read_parquet(tmp_path / "ids.parquet")
    raw = RawEvents(claims.raw(sound(claims)).table, subjects=subjects)
    monkeypatch.setattr(sources, "read", lambda *_: raw)
    target = tmp_path / "events"
    target.mkdir()
    event_table.build(study, engine, target)
    assert pq.read_table(target / "subjects.parquet")["source_id"].to_pylist() == ["A", "B"]


def test_a_source_of_which_nothing_is_usable_is_bad_input(
    claims, engine: Engine, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "read", lambda *_: claims.raw([claims.event(1, 5, CODE)]))
    with pytest.raises(BadInput, match=r"none of its 1 events is usable \(1 unknown patient\)"):
        event_table.build(study, engine, tmp_path)
