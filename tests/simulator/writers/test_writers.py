"""Properties of every format."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.errors import BadInput
from claimscale.simulator.writers import WRITERS, WriterOptions

VARIANTS = [
    *((name, WriterOptions()) for name in WRITERS),
    ("tables", WriterOptions(csv=True)),
    ("uke", WriterOptions(wareki=True)),
]
HAVE_TABLES_OF_CODES = ("uke", "dpc", "omop", "meds")
variants = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@variants
def test_bytes_depend_on_nothing_but_the_shards(name, options, make_events, country_codes, tmp_path):
    shards = [make_events(seed, 25, first_subject=1 + 25 * seed) for seed in range(4)]

    one = WRITERS[name](tmp_path / "one", country_codes, options)
    for number, shard in enumerate(shards):
        one.write(shard, number)
    one.finish()

    other = WRITERS[name](tmp_path / "other", country_codes, options)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(other.write, shards[::-1], range(3, -1, -1)))
    # A table in pieces is the same table, and writing a shard again changes nothing.
    pieces = pa.concat_tables([shards[2][:50], shards[2][50:]])
    WRITERS[name](tmp_path / "other", country_codes, options).write(pieces, 2)
    other.finish()

    assert digests(tmp_path / "one") == digests(tmp_path / "other") != {}


@variants
def test_a_shard_touches_only_files_named_after_it(name, options, make_events, country_codes, tmp_path):
    writer = WRITERS[name](tmp_path, country_codes, options)
    writer.write(make_events(1, 25), 7)
    before = digests(tmp_path)
    assert all("000007" in Path(file).stem for file in before)
    writer.write(make_events(2, 25, first_subject=100), 8)
    after = digests(tmp_path)
    assert before.items() <= after.items()
    assert all("000008" in Path(file).stem for file in after.keys() - before.keys())


@variants
def test_code_tables_do_not_depend_on_patients(name, options, make_events, country_codes, tmp_path):
    for folder, seed in (("one", 1), ("other", 2)):
        writer = WRITERS[name](tmp_path / folder, country_codes, options)
        writer.write(make_events(seed, 25), 0)
        writer.finish()
    of_codes = ("masters/", "concept/", "metadata/codes")
    tables = [
        {file: digest for file, digest in digests(tmp_path / folder).items() if file.startswith(of_codes)}
        for folder in ("one", "other")
    ]
    assert tables[0] == tables[1]
    assert bool(tables[0]) == (name in HAVE_TABLES_OF_CODES)


@variants
def test_a_shard_without_claims_and_one_without_patients(name, options, by_hand, country_codes, tmp_path):
    writer = WRITERS[name](tmp_path, country_codes, options)
    never_came = pa.compute.equal(by_hand.events["subject_id"], 5)  # type: ignore[attr-defined]
    writer.write(by_hand.events.filter(never_came), 0)
    writer.write(by_hand.events[:0], 1)
    writer.finish()
    people = {"events": "events", "tables": "patients", "omop": "person", "meds": "data"}
    if name in people and not options.csv:
        assert len(pq.read_table(tmp_path / people[name] / "000000.parquet")) > 0
        assert len(pq.read_table(tmp_path / people[name] / "000001.parquet")) == 0


@variants
def test_a_folder_that_cannot_be_written_is_bad_input(name, options, by_hand, country_codes, tmp_path):
    (tmp_path / "file").write_text("")
    writer = WRITERS[name](tmp_path / "file", country_codes, options)
    with pytest.raises(BadInput, match="cannot be written"):
        writer.write(by_hand.events, 0)
    if name in HAVE_TABLES_OF_CODES:
        with pytest.raises(BadInput, match="cannot be written"):
            writer.finish()


def test_a_failed_write_leaves_nothing(by_hand, country_codes, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    for name in WRITERS:
        with pytest.raises(BadInput, match="No space left on device"):
            WRITERS[name](tmp_path / name, country_codes, WriterOptions()).write(by_hand.events, 0)
    assert digests(tmp_path) == {}


@pytest.mark.parametrize("name", ["uke", "dpc", "omop"])
def test_a_code_that_the_country_does_not_list_is_bad_input(name, by_hand, country_codes, tmp_path):
    listed = [code for code in country_codes if code != "ATC//C08CA01"]
    with pytest.raises(BadInput, match="ATC//C08CA01: not among"):
        WRITERS[name](tmp_path, listed, WriterOptions()).write(by_hand.events, 0)


@pytest.mark.parametrize("name", ["tables", "uke", "dpc", "omop"])
def test_other_code_systems_are_bad_input(name, by_hand, country_codes, tmp_path):
    codes = pa.array(
        ["LAB//718-7" if code == "ICD10//I10" else code for code in by_hand.events["code"].to_pylist()]
    )
    events = by_hand.events.set_column(2, "code", codes)
    with pytest.raises(BadInput, match="LAB//718-7"):
        WRITERS[name](tmp_path, country_codes, WriterOptions()).write(events, 0)


@pytest.mark.parametrize("name", ["uke", "dpc", "omop"])
def test_a_hospital_that_cannot_be_coded_is_bad_input(name, by_hand, country_codes, tmp_path):
    hospitals = pa.array(
        [value and "Mercy" for value in by_hand.events["hospital_id"].to_pylist()], pa.string()
    )
    events = by_hand.events.set_column(4, "hospital_id", hospitals)
    with pytest.raises(BadInput, match="hospital Mercy"):
        WRITERS[name](tmp_path, country_codes, WriterOptions()).write(events, 0)
