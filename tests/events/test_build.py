"""Row reconciliation covers every row, and valid events are sound."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from pathlib import Path

import ibis
import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies
from ibis import _

from claimscale import sources
from claimscale.artifacts import read_json
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.build import build, write_events_folder
from claimscale.events.columns import sorted_places
from claimscale.events.table import EPOCH, read_events, timestamps
from claimscale.sources.raw import RawEvents

CODE = "ICD10//N189"


def rows_by_issue(claims) -> dict[str, list]:
    """For each issue, rows that have it; patient 1 is sound, 2 died, 3 is unknown."""
    event = claims.event
    tomorrow = (dt.date.today() - EPOCH).days + 1
    return {
        "missing patient": [event(None, 10, CODE)],
        "missing code": [event(1, 10, None), event(1, 11, "ICD10//  ")],
        "missing time": [event(1, None, CODE, available_day=10)],
        "placeholder date": [event(1, -30_000, CODE), event(1, 10, CODE, available_day=80_000)],
        "future date": [event(1, tomorrow, CODE)],
        "malformed code": [event(1, 10, "ICD10//189")],
        "unknown patient": [event(3, 10, CODE)],
        "conflicting birth date": [event(1, 5, "MEDS_BIRTH")],
        "conflicting death date": [event(2, 90, "MEDS_DEATH")],
        "conflicting sex": [event(2, 5, "SEX//F")],
        "before birth": [event(1, -10_001, CODE)],
        "after death": [event(2, 101, CODE), event(2, 500, CODE)],
        "same patient, time, code, value and visit": [event(1, 20, CODE)],
    }


def sound(claims) -> list:
    event = claims.event
    first = [*claims.born(1), event(1, 20, CODE), event(1, 20, CODE, suspected=True)]
    repeated = event(2, 4, "SEX//M")
    return [*first, *claims.born(2, "M"), repeated, event(2, 100, "MEDS_DEATH"), event(2, 100, CODE)]


@pytest.fixture
def validate_rows(claims, engine: Engine, tmp_path: Path):
    """Validate rows; returns the quality, the events and the quarantined rows."""

    def passed(rows):
        target = tmp_path / "passed"
        quality = write_events_folder(claims.raw(rows), engine, tmp_path / "scratch", target)
        events = [row for file in (target / "data").iterdir() for row in pq.read_table(file).to_pylist()]
        return quality, events, pq.read_table(target / "quarantine.parquet").to_pylist()

    return passed


def test_each_issue_is_handled_and_rows_add_up(claims, validate_rows) -> None:
    planted = rows_by_issue(claims)
    rows = sound(claims) + [row for listed in planted.values() for row in listed]
    quality, events, aside = validate_rows(rows)
    duplicates = planted.pop("same patient, time, code, value and visit")
    assert quality["dropped"] == {"same patient, time, code, value and visit": len(duplicates)}
    assert quality["quarantined"] == {reason: len(listed) for reason, listed in planted.items()}
    assert Counter(row["issue"] for row in aside) == quality["quarantined"]
    assert quality["rows_in"] == len(rows)
    assert quality["used"] == len(sound(claims)) == len(events)
    assert {row["source_table"] for row in aside} == {"made up"}


def test_quarantined_rows_are_unchanged(claims, validate_rows) -> None:
    wrong = claims.event(1, -10_001, CODE, hospital_id="H1", suspected=True)
    _, _, aside = validate_rows([*sound(claims), wrong])
    (row,) = aside
    assert {name: row[name] for name in wrong.row()} == wrong.row()


def test_sound_rows_raise_no_alarm(claims, validate_rows) -> None:
    quality, _, aside = validate_rows(sound(claims))
    alarms = (quality[kind] for kind in ("quarantined", "dropped", "repaired", "warnings"))
    assert not any(alarms)
    assert aside == []


def test_nothing_is_available_before_it_happens(claims, validate_rows) -> None:
    quality, events, _ = validate_rows([*claims.born(1), claims.event(1, 20, CODE, available_day=5)])
    assert quality["repaired"] == {"available before event": 1}
    assert all(row["available_at"] >= row["time"] for row in events)


def test_codes_become_canonical(claims, validate_rows) -> None:
    spelt = ["ICD10//N18.9", "ICD10//n189", " ICD10//N189".strip(), "ICD10//Ｎ１８９"]
    rows = [claims.event(1, 20 + place, code) for place, code in enumerate(spelt)]
    quality, events, _ = validate_rows([*claims.born(1), *rows])
    assert quality["repaired"] == {"non-canonical code": 3}
    assert {row["code"] for row in events if row["time"].year == 1970} == {CODE}


def test_the_sex_of_most_rows_is_used(claims, validate_rows) -> None:
    rows = [*claims.born(1, "F"), *(claims.event(1, day, "SEX//M") for day in (1, 2))]
    rows += [*claims.born(2, "F"), *(claims.event(2, day, "SEX//U") for day in (1, 2, 3))]
    _, events, aside = validate_rows(rows)
    sexes = {(row["subject_id"], row["code"]) for row in events if row["code"].startswith("SEX")}
    assert sexes == {(1, "SEX//M"), (2, "SEX//F")}
    assert {row["issue"] for row in aside} == {"conflicting sex"}


@given(strategies.lists(strategies.lists(strategies.integers(-3, 3), min_size=4, max_size=4), max_size=60))
def test_rows_are_sorted_by_subject_then_by_every_key(rows: list[list[int]]) -> None:
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    subject = table[:, 0] + 3
    places = sorted_places(subject, 7, np.ascontiguousarray(table[:, 1:]))
    assert sorted(places.tolist()) == list(range(len(rows)))
    assert table[places].tolist() == sorted(table.tolist())


def test_observation_is_stated_or_first_to_last_contact(claims, engine, tmp_path) -> None:
    raw = claims.raw([*claims.born(1), claims.event(1, 20, CODE), claims.event(1, 50, CODE)])
    write_events_folder(raw, engine, tmp_path / "scratch", tmp_path / "one")
    (seen,) = pq.read_table(tmp_path / "one/observation.parquet").to_pylist()
    day = dt.datetime(1970, 1, 1)
    assert (seen["start"], seen["end"]) == (day + dt.timedelta(20), day + dt.timedelta(50))
    periods = [{"patient": 1, "start": day, "end": day + dt.timedelta(9)}]
    periods += [{"patient": 1, "start": day + dt.timedelta(5), "end": day + dt.timedelta(99)}]
    stated = dataclasses.replace(raw, observation=ibis.memtable(pa.Table.from_pylist(periods)))
    write_events_folder(stated, engine, tmp_path / "scratch2", tmp_path / "other")
    (seen,) = pq.read_table(tmp_path / "other/observation.parquet").to_pylist()
    assert (seen["start"], seen["end"]) == (day, day + dt.timedelta(99))


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
    table = engine.to_arrow(read_events(engine, folder).order_by("day"))
    assert table["day"].to_pylist() == [-10_000, -10_000, -1]
    assert table["available_day"].to_pylist() == [-10_000, -10_000, 0]
    assert table["demographic"].to_pylist() == [True, True, False]
    assert timestamps(np.array([-1]))[0].as_py().date().isoformat() == "1969-12-31"


def test_build_writes_events_and_quality(
    claims, engine: Engine, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "read", lambda *_: claims.raw(sound(claims)))
    build(study, engine, tmp_path)
    quality = read_json(tmp_path / "quality.json")
    assert (quality["patients"], quality["codes"], quality["hospitals"]) == (2, 5, 0)
    assert quality["span"] == ["1970-01-21", "1970-04-11"]
    assert not (tmp_path / "subjects.parquet").exists()
    codes = pq.read_table(tmp_path / meds.code_metadata_filepath)
    meds.CodeMetadataSchema.validate(codes)
    found = pq.read_table(tmp_path / "data")["code"].to_pylist()
    assert codes["code"].to_pylist() == sorted(set(found))
    meds.DatasetMetadataSchema.validate(read_json(tmp_path / meds.dataset_metadata_filepath))


def test_text_ids_are_numbered_in_their_order_and_kept(claims, engine: Engine, tmp_path: Path) -> None:
    raw = claims.raw(sound(claims))
    table = raw.table.mutate(patient=_.patient.cases((1, "B"), (2, "A")))
    strangers = table.mutate(patient=ibis.literal("Z"))
    listed = ibis.memtable(pa.table({"patient": ["A", "B", "A"]}))
    raw = RawEvents(ibis.union(table, strangers), patients=listed)
    quality = write_events_folder(raw, engine, tmp_path / "scratch", tmp_path / "target")
    numbers = pq.read_table(tmp_path / "target/subjects.parquet").to_pylist()
    assert numbers == [{"subject_id": 1, "source_id": "A"}, {"subject_id": 2, "source_id": "B"}]
    events = pq.read_table(tmp_path / "target/data/00000.parquet").to_pylist()
    assert {row["subject_id"] for row in events if row["code"] == "MEDS_DEATH"} == {1}
    assert quality["quarantined"] == {"unknown patient": len(sound(claims))}
    aside = pq.read_table(tmp_path / "target/quarantine.parquet").to_pylist()
    assert {row["unlisted_patient_id"] for row in aside} == {"Z"}


def test_a_source_without_usable_events_is_bad_input(
    claims, engine: Engine, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "read", lambda *_: claims.raw([claims.event(1, 5, CODE)]))
    with pytest.raises(BadInput, match=r"none of its 1 events is usable \(1 unknown patient\)"):
        build(study, engine, tmp_path)
