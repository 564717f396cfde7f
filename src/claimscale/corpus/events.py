"""The gate: raw events in, checked events out, every row accounted for.

`events/` holds `data/NNNNN.parquet` (MEDS data with our columns, each patient in one shard, sorted by
patient and time), `quality.json` (rows in = used + dropped by reason) and, for sources whose ids are no
integers, `subjects.parquet`.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import ibis
import ibis.expr.types as ir
import meds
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import Deferred, _

from claimscale import sources
from claimscale.codes import BIRTH, DEATH, SEX_PREFIX
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.runs import make_folder, write_json
from claimscale.sources.raw import EVENT_SCHEMA, RawEvents
from claimscale.study import Study

EPOCH = dt.date(1970, 1, 1)
FIRST_YEAR, LAST_YEAR = 1900, 2100
SHARD_ROWS = 4_000_000
"""Rows sorted and written at a time: about 1 GB of memory."""

DUPLICATE = "exact duplicate"


def build(study: Study, engine: Engine, target: Path) -> None:
    """Read the study's source, drop what cannot be used, and write the events folder.

    Raises BadInput when the source cannot be read or nothing usable is left.
    """
    with tempfile.TemporaryDirectory(dir=engine.scratch) as scratch:
        raw = sources.read(study, engine, Path(scratch))
        clean_file = Path(scratch) / "clean.parquet"
        quality = pass_gate(raw, engine, clean_file)
        if quality["used"] == 0:
            raise BadInput(f"source: none of its {quality['rows_in']:,} events is usable ({_worst(quality)})")
        clean = engine.read_parquet(clean_file)
        write_shards(clean, engine, target / "data")
        if raw.subjects is not None:
            mapping = engine.to_arrow(raw.subjects.order_by("subject_id"))
            pq.write_table(mapping, target / "subjects.parquet", write_page_checksum=True)
        write_json(target / "quality.json", quality | _description(clean, engine))


def read(engine: Engine, events: Path) -> ir.Table:
    """The events of a folder, with the columns that `with_days` adds."""
    return with_days(engine.read_parquet(events / "data" / "*.parquet"))


def with_days(events: ir.Table) -> ir.Table:
    """The events with three more columns.

    `day` and `available_day` are int32 days since 1970-01-01; `demographic` marks birth and sex, which are
    facts about a patient rather than contacts.
    """
    return events.mutate(
        day=_day(_.time),
        available_day=_day(_.available_at),
        demographic=(_.code == BIRTH) | _.code.startswith(SEX_PREFIX),
    )


def day_number(date: dt.date) -> int:
    """Days since 1970-01-01.

    >>> day_number(dt.date(1970, 1, 2))
    1
    """
    return (date - EPOCH).days


def timestamps(days: npt.NDArray[np.integer]) -> pa.Array:
    """Day numbers as timestamps at midnight."""
    return pa.array(days.astype("datetime64[D]").astype("datetime64[us]"))


def pass_gate(raw: RawEvents, engine: Engine, clean_file: Path) -> dict:
    """Write the usable rows, each once, to `clean_file`, in no order.

    Returns the account: `rows_in`, `used`, `dropped` by reason (each row has one: the first that applies),
    `repaired` and the source's own `source_rows`. rows_in = used + all dropped, always.
    """
    judged = _with_reason(raw.table)
    counts = engine.to_arrow(judged.group_by("reason").aggregate(rows=judged.count())).to_pylist()
    rows = {count["reason"]: count["rows"] for count in counts}
    passed = judged.filter(_.reason.isnull())
    known_too_early = passed.filter(_.available_at < _.time)
    repaired = _count(engine, known_too_early)
    # Nothing is known before it happens; letting it pass would show the future to a model.
    passed = passed.mutate(
        available_at=ibis.greatest(_.available_at, _.time), suspected=_.suspected.fill_null(False)
    )
    engine.write_parquet(passed.select(*EVENT_SCHEMA).distinct(), clean_file)
    used = pq.read_metadata(clean_file).num_rows

    dropped = {reason: rows[reason] for reason in REASONS if reason in rows}
    duplicates = rows.get(None, 0) - used
    if duplicates:
        dropped[DUPLICATE] = duplicates
    return {
        "rows_in": sum(rows.values()),
        "used": used,
        "dropped": dropped,
        "repaired": {"known before it happened": repaired} if repaired else {},
        "source_rows": raw.rows,
    }


REASONS: dict[str, Deferred] = {
    "missing patient": _.subject_id.isnull(),
    "missing code": _.code.isnull() | (_.code.strip() == ""),
    "missing time": _.time.isnull() | _.available_at.isnull(),
    f"outside {FIRST_YEAR}-{LAST_YEAR}": ~(
        _.time.year().between(FIRST_YEAR, LAST_YEAR) & _.available_at.year().between(FIRST_YEAR, LAST_YEAR)
    ),
    "unknown patient": _.birth.isnull(),
    "contradicts another birth date": (_.code == BIRTH) & (_.time != _.birth),
    "contradicts another death date": (_.code == DEATH) & (_.time != _.death),
    "before birth": _.time < _.birth,
    "after death": _.time.date() > _.death.date(),
}
"""Why a row is dropped, first match first. A patient is unknown without a usable birth date."""


def _with_reason(raw: ir.Table) -> ir.Table:
    """The raw events with `reason`, null where a row passes."""
    usable = raw.filter(_.subject_id.notnull(), _.time.year().between(FIRST_YEAR, LAST_YEAR))
    vital = usable.filter(_.code.isin([BIRTH, DEATH]))
    # Of several birth dates the first stands, of several death dates the last: neither drops a contact.
    vital = vital.group_by("subject_id").aggregate(
        birth=_.time.min(where=_.code == BIRTH), death=_.time.max(where=_.code == DEATH)
    )
    joined = raw.left_join(vital, "subject_id").drop("subject_id_right")
    reason = ibis.cases(
        *((applies.resolve(joined).fill_null(False), reason) for reason, applies in REASONS.items()),
        else_=ibis.null("string"),
    )
    return joined.mutate(reason=reason)


def write_shards(clean: ir.Table, engine: Engine, folder: Path, shard_rows: int = SHARD_ROWS) -> None:
    """Sort the events and write them in shards of whole patients, of about `shard_rows` rows."""
    make_folder(folder)
    counts = clean.group_by("subject_id").aggregate(rows=clean.count()).order_by("subject_id")
    patients = engine.to_arrow(counts)
    subject_ids = patients["subject_id"].to_numpy()
    shard_of_patient = (np.cumsum(patients["rows"].to_numpy()) - 1) // shard_rows
    first_of_shard = np.flatnonzero(np.diff(shard_of_patient, prepend=-1))
    last_of_shard = np.append(first_of_shard[1:], len(subject_ids)) - 1
    for shard, (first, last) in enumerate(zip(first_of_shard, last_of_shard, strict=True)):
        within = clean.filter(_.subject_id.between(int(subject_ids[first]), int(subject_ids[last])))
        # Sorting by every column makes equal events equal bytes, whatever the engine.
        order = ["subject_id", "time", *(name for name in EVENT_SCHEMA if name not in ("subject_id", "time"))]
        table = engine.to_arrow(within.order_by(order)).cast(EVENT_SCHEMA.to_pyarrow())
        meds.DataSchema.validate(table)
        pq.write_table(table, folder / f"{shard:05d}.parquet", compression="zstd", write_page_checksum=True)


def _description(clean: ir.Table, engine: Engine) -> dict:
    """What the events hold, for the report; the span leaves births out."""
    contacts = clean.filter(_.code != BIRTH, ~_.code.startswith(SEX_PREFIX))
    whole = clean.aggregate(
        patients=clean.subject_id.nunique(), hospitals=clean.hospital_id.nunique(), codes=clean.code.nunique()
    )
    row = engine.to_arrow(whole).to_pylist()[0]
    span = contacts.aggregate(first=contacts.time.min(), last=contacts.time.max())
    ends = engine.to_arrow(span).to_pylist()[0].values()
    return row | {"span": [None if end is None else end.date().isoformat() for end in ends]}


def _count(engine: Engine, table: ir.Table) -> int:
    return engine.to_arrow(table.aggregate(rows=table.count()))["rows"][0].as_py()


def _worst(quality: dict) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in quality["dropped"].items()) or "it has none"


def _day(time: Deferred) -> Deferred:
    return time.date().delta(EPOCH, unit="day").cast("int32")
