"""The events stage: raw events in, validated events out, in shards of whole patients.

`events/` is a MEDS dataset: `data/NNNNN.parquet` (MEDS data with further columns; each patient in one shard,
sorted by patient and time) and `metadata/`. It also holds `quality.json` (row reconciliation: rows in = used
+ quarantined + dropped, by reason), `quarantine.parquet` (the quarantined rows, with the issue of each),
`observation.parquet` (the observation period of each patient) and, for sources with text ids,
`subjects.parquet`.
"""

from __future__ import annotations

import datetime as dt
import functools
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale import meds_metadata, sources
from claimscale.artifacts import make_folder, write_json
from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events import observation, source_ids
from claimscale.events.columns import TEXTS, EventColumns
from claimscale.events.shards import split_into_shards
from claimscale.events.table import read_events
from claimscale.events.validation import QUARANTINE_SCHEMA, Reconciliation, validate
from claimscale.sources.raw import EVENT_SCHEMA, Crosswalk, RawEvents

SHARD_ROWS = 1_000_000
"""Rows that one thread validates, sorts and writes together: about 0.3 GB of memory."""
PARALLEL_SHARDS = 2


def build(study: Study, engine: Engine, target: Path) -> None:
    """Read the study's source, quarantine invalid rows, and write the events folder.

    Raises BadInput when the source cannot be read or no event is usable.
    """
    with tempfile.TemporaryDirectory(dir=engine.scratch) as scratch:
        raw = sources.read(study, engine, Path(scratch))
        quality = write_events_folder(raw, engine, Path(scratch), target)
        _refuse_shifted_dates(quality)
        if quality["used"] == 0:
            reasons = (quality["quarantined"] | quality["dropped"]).items()
            causes = ", ".join(f"{rows:,} {reason}" for reason, rows in reasons) or "it has none"
            raise BadInput(f"source: none of its {quality['rows_in']:,} events is usable ({causes})")
    events = read_events(engine, target)
    _write_metadata(events, study.name, engine, target)
    write_json(target / "quality.json", quality | _summary(events, engine))


def _refuse_shifted_dates(quality: Mapping[str, Any]) -> None:
    """Raises BadInput if most events have an impossible date, which is so if dates were shifted."""
    impossible = sum(quality["quarantined"].get(issue, 0) for issue in ("future date", "placeholder date"))
    if 2 * impossible > quality["rows_in"]:
        raise BadInput(
            f"source: {impossible:,} of its {quality['rows_in']:,} events are dated in the future or by a "
            "placeholder; if the dates were shifted for de-identification, set source.dates: shifted"
        )


def write_events_folder(
    raw: RawEvents, engine: Engine, scratch: Path, target: Path, shard_rows: int = SHARD_ROWS
) -> dict[str, Any]:
    """Validate raw events and write the events folder without `quality.json` and `metadata/`.

    Returns the content of `quality.json`. `rows_in = used + quarantined + dropped` always holds.
    """
    shards = split_into_shards(raw, engine, scratch, shard_rows)
    make_folder(target / "data")
    today = None if raw.shifted else dt.date.today()
    run = functools.partial(validate_shard, today=today, crosswalks=raw.crosswalks, folder=target / "data")
    reconciliation, contacts = Reconciliation(), [observation.SCHEMA.empty_table()]
    hospitals: set[str] = set()
    in_several = 0
    with (
        pq.ParquetWriter(
            target / "quarantine.parquet", QUARANTINE_SCHEMA, write_page_checksum=True
        ) as quarantine,
        ThreadPoolExecutor(PARALLEL_SHARDS) as pool,
    ):
        # `map` returns results in the order of the shards, so that files do not depend on the threads.
        for result in pool.map(run, shards.files.keys(), shards.files.values()):
            reconciliation.add(result.reconciliation)
            if len(result.quarantined):
                quarantine.write_table(result.quarantined)
            contacts.append(result.contacts)
            hospitals |= result.hospitals
            in_several += result.in_several_hospitals
    assert reconciliation.is_complete, "rows in are not used + quarantined + dropped"
    if raw.table.schema()["patient"].is_string():
        ids = shards.patients.select("subject_id", source_id=_.patient).order_by("subject_id")
        pq.write_table(engine.to_arrow(ids), target / source_ids.FILE, write_page_checksum=True)
    stated = observation.stated_periods(raw, shards.patients, engine)
    seen = pa.concat_tables(contacts)
    periods, file = seen if stated is None else stated, target / "observation.parquet"
    observation.write(periods, stated is not None, file, observation.last_contact(seen))
    warnings = raw.warnings | ({"single hospital": 1} if len(hospitals) == 1 else {})
    return _quality(reconciliation, raw, warnings) | {
        "hospitals": len(hospitals),
        "patients_in_several_hospitals": in_several,
    }


@dataclass(frozen=True)
class ShardResult:
    """What validating a shard returns beside its events."""

    reconciliation: Reconciliation
    quarantined: pa.Table
    contacts: pa.Table
    hospitals: set[str]
    in_several_hospitals: int


def validate_shard(
    shard: int, files: list[Path], today: dt.date | None, crosswalks: Sequence[Crosswalk], folder: Path
) -> ShardResult:
    """Validate the raw events of whole patients, and write the valid ones as a shard of `folder`."""
    table = pa.concat_tables(pq.ParquetFile(file, read_dictionary=[*TEXTS]).read() for file in files)
    valid, quarantined, reconciliation = validate(table, today, crosswalks)
    if len(valid):
        events = valid.table()
        meds.DataSchema.validate(events.slice(0, 0).cast(EVENT_SCHEMA.to_pyarrow()))
        # Without the Arrow schema, dictionaries are read back as plain text.
        file = folder / f"{shard:05d}.parquet"
        pq.write_table(events, file, compression="zstd", write_page_checksum=True, store_schema=False)
    return ShardResult(reconciliation, quarantined, observation.contact_periods(valid), *_hospitals(valid))


def _hospitals(events: EventColumns) -> tuple[set[str], int]:
    """The hospitals of the events, and how many patients have events of more than one."""
    known = events.where(events.columns["hospital_id"] >= 0)
    place = known.columns["hospital_id"]
    if not len(known):
        return set(), 0
    first = known.first_of_subjects()
    several = np.minimum.reduceat(place, first) != np.maximum.reduceat(place, first)
    names = events.texts["hospital_id"].take(pa.array(np.flatnonzero(np.bincount(place)))).to_pylist()
    return set(names), int(np.count_nonzero(several))


def _quality(reconciliation: Reconciliation, raw: RawEvents, warnings: Mapping[str, int]) -> dict[str, Any]:
    """The reconciliation as plain data, the most frequent reason first."""
    return {
        "rows_in": reconciliation.rows_in,
        "used": reconciliation.used,
        "quarantined": dict(reconciliation.quarantined.most_common()),
        "dropped": dict(reconciliation.dropped.most_common()),
        "repaired": dict(reconciliation.repaired.most_common()),
        "warnings": dict(reconciliation.warned.most_common()) | dict(warnings),
        "source_rows": {
            name: {"events": reconciliation.events_of_table[name], **rows} for name, rows in raw.rows.items()
        },
    }


def _write_metadata(events: ir.Table, name: str, engine: Engine, target: Path) -> None:
    make_folder(target / "metadata")
    codes = engine.to_arrow(events.select("code").distinct())["code"].to_pylist()
    file = target / meds.code_metadata_filepath
    pq.write_table(meds_metadata.codes_table(codes), file, write_page_checksum=True)
    write_json(target / meds.dataset_metadata_filepath, meds_metadata.description(name))


def _summary(events: ir.Table, engine: Engine) -> dict[str, Any]:
    """Counts of patients and codes, and the first and last day of contacts (births are left out)."""
    contacts = events.filter(_.code != BIRTH, ~_.code.startswith(SEX_PREFIX))
    counts = events.aggregate(patients=events.subject_id.nunique(), codes=events.code.nunique())
    span = contacts.aggregate(first=contacts.time.min(), last=contacts.time.max())
    ends = engine.to_arrow(span).to_pylist()[0].values()
    return engine.to_arrow(counts).to_pylist()[0] | {
        "span": [None if end is None else end.date().isoformat() for end in ends]
    }
