"""Raw events in, checked events out, in shards of whole patients.

`events/` holds `data/NNNNN.parquet` (MEDS data with our columns, each patient in one shard, sorted by
patient and time), `quality.json` (rows in = used + quarantined + dropped, by reason), `quarantine.parquet`
(the rows set aside, with the fault of each), `observation.parquet` (when each patient could be seen) and, for
sources whose ids are no integers, `subjects.parquet`. With `metadata/` it is a MEDS dataset.
"""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import ibis
import ibis.expr.types as ir
import meds
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import Deferred, _

from claimscale import meds_metadata as meds_files, sources
from claimscale.artifacts import make_folder, write_json
from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events import observation, validation as gate
from claimscale.events.columns import TEXTS, Rows
from claimscale.events.validation import Account
from claimscale.sources.raw import DETAILS, EVENT_SCHEMA, Crosswalk, RawEvents

EPOCH = dt.date(1970, 1, 1)
FIRST_YEAR = 1900
SHARD_ROWS = 1_000_000
"""Rows judged, sorted and written by one thread at a time: about 0.3 GB of memory."""
SHARDS_AT_ONCE = 2
NOBODY = -1
"""The first of the shards, counting down, of rows that name no patient whom the source knows."""

OBSERVATION_SCHEMA = pa.schema(
    [("subject_id", pa.int64()), ("start", pa.timestamp("us")), ("end", pa.timestamp("us"))]
)


def build(study: Study, engine: Engine, target: Path) -> None:
    """Read the study's source, set aside what cannot be used, and write the events folder.

    Raises BadInput when the source cannot be read or nothing usable is left.
    """
    with tempfile.TemporaryDirectory(dir=engine.scratch) as scratch:
        raw = sources.read(study, engine, Path(scratch))
        quality = write(raw, engine, Path(scratch), target)
        if quality["used"] == 0:
            raise BadInput(f"source: none of its {quality['rows_in']:,} events is usable ({_worst(quality)})")
    clean = read(engine, target)
    _write_metadata(clean, study.name, engine, target)
    write_json(target / "quality.json", quality | _description(clean, engine))


def write(raw: RawEvents, engine: Engine, scratch: Path, target: Path, shard_rows: int = SHARD_ROWS) -> dict:
    """Pass raw events through the gate and write the events folder, but for `quality.json`: its content is
    returned. `rows_in = used + quarantined + dropped`, always.
    """
    make_folder(scratch)
    patients = _patients(raw, engine, scratch / "patients.parquet")
    expected = raw.events if raw.events is not None else engine.count(raw.table)
    shards = max(1, math.ceil(expected / shard_rows))
    engine.write_partitions(_numbered(raw, patients, shards, engine), scratch / "shards", "shard", shards)
    make_folder(target / "data")
    files = _files_of_shards(scratch / "shards")
    account, seen = Account(), []
    with (
        _Quarantine(target / "quarantine.parquet") as quarantine,
        ThreadPoolExecutor(SHARDS_AT_ONCE) as pool,
    ):
        today = dt.date.today()
        hospitals: set[str] = set()
        in_several = 0
        pending = deque(sorted(files))
        started: deque[Future[_Passed]] = deque()
        # Results are taken in the order of the shards, so that the files do not depend on the threads.
        while pending or started:
            while pending and len(started) < SHARDS_AT_ONCE:
                shard = pending.popleft()
                started.append(
                    pool.submit(
                        _pass_shard, files[shard], today, raw.crosswalks, target / f"data/{shard:05d}.parquet"
                    )
                )
            passed = started.popleft().result()
            account.add(passed.account)
            quarantine.add(passed.aside)
            seen.append(passed.seen)
            hospitals |= passed.hospitals
            in_several += passed.in_several_hospitals
    assert account.adds_up, "rows in are not used + quarantined + dropped"
    if raw.table.schema()["patient"].is_string():
        mapping = engine.to_arrow(patients.select("subject_id", source_id=_.patient).order_by("subject_id"))
        pq.write_table(mapping, target / "subjects.parquet", write_page_checksum=True)
    observed = _observed(raw, patients, engine)
    contacts = pa.concat_tables([OBSERVATION_SCHEMA.empty_table(), *seen])
    file = target / "observation.parquet"
    observation.write(contacts if observed is None else observed, observed is not None, file)
    visibility = {"hospitals": len(hospitals), "patients_in_several_hospitals": in_several}
    return _quality(account, raw, {"all of one hospital": 1} if len(hospitals) == 1 else {}) | visibility


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


def _patients(raw: RawEvents, engine: Engine, file: Path) -> ir.Table:
    """Who there is: `patient`, `subject_id`, and `subject_place`, the place in their order, from 0.

    Integer ids are the subject ids; strings are numbered from 1 in their order.
    """
    ids = (raw.table if raw.patients is None else raw.patients).select("patient")
    ids = ids.filter(_.patient.notnull()).distinct()
    placed = ids.mutate(subject_place=ibis.row_number().over(order_by="patient"))
    is_text = raw.table.schema()["patient"].is_string()
    number = (_.subject_place + 1) if is_text else _.patient
    engine.write_parquet(placed.mutate(subject_id=number.cast("int64")), file)
    return engine.read_parquet(file)


def _numbered(raw: RawEvents, patients: ir.Table, shards: int, engine: Engine) -> ir.Table:
    """The raw events with `subject_id` and `shard`: patients in order, as many in each shard.

    `stranger` is the source's id of somebody whom its list of patients does not have.
    """
    places = max(1, engine.count(patients))
    joined = raw.table.left_join(patients, "patient")
    # Rows of nobody need not be together: their days spread them, lest one shard held all.
    apart = NOBODY - _day(_.time).fill_null(0).abs() % shards
    shard = ibis.coalesce((_.subject_place * shards) // places, apart).cast("int32")
    is_stranger = joined.subject_id.isnull() & joined.patient.notnull()
    details: dict[str, Deferred | ir.Value] = {name: _[name] for name in DETAILS}
    unknown = ibis.ifelse(is_stranger, "unknown patient", ibis.null("string"))
    details["fault"] = ibis.coalesce(joined.fault, unknown)
    stranger = ibis.ifelse(is_stranger, joined.patient.cast("string"), ibis.null("string"))
    return joined.select(subject_id=_.subject_id, **details, stranger=stranger, shard=shard)


def _files_of_shards(folder: Path) -> dict[int, list[Path]]:
    files: dict[int, list[Path]] = {}
    for file in sorted(folder.glob("shard=*/*.parquet")):
        files.setdefault(int(file.parent.name.partition("=")[2]), []).append(file)
    return files


@dataclass(frozen=True)
class _Passed:
    """What came of a shard beside its events: its account, rows set aside, when and where who was seen."""

    account: Account
    aside: pa.Table
    seen: pa.Table
    hospitals: set[str]
    in_several_hospitals: int


def _pass_shard(files: list[Path], today: dt.date, crosswalks: Sequence[Crosswalk], target: Path) -> _Passed:
    account = Account()
    texts = [*TEXTS]
    table = pa.concat_tables(pq.ParquetFile(file, read_dictionary=texts).read() for file in files)
    passed, aside = gate.judge(table, today, account, crosswalks)
    if len(passed):
        _write_shard(passed, target)
    return _Passed(account, aside, _seen(passed), *_hospitals(passed))


def _write_shard(rows: Rows, file: Path) -> None:
    table = rows.table()
    meds.DataSchema.validate(table.slice(0, 0).cast(EVENT_SCHEMA.to_pyarrow()))
    # Without the Arrow schema dictionaries come back as the texts that they are.
    pq.write_table(table, file, compression="zstd", write_page_checksum=True, store_schema=False)


class _Quarantine:
    """`quarantine.parquet`: rows set aside, as they came, with their fault; written as they turn up."""

    def __init__(self, file: Path) -> None:
        self._writer = pq.ParquetWriter(file, gate.QUARANTINE_SCHEMA, write_page_checksum=True)

    def __enter__(self) -> _Quarantine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, table: pa.Table) -> None:
        if len(table):
            self._writer.write_table(table)


def _observed(raw: RawEvents, patients: ir.Table, engine: Engine) -> pa.Table | None:
    """When each patient could be seen, as the source says; None if it does not."""
    if raw.observation is None:
        return None
    periods = raw.observation.inner_join(patients, "patient").filter(_.start.notnull(), _.end.notnull())
    whole = periods.group_by("subject_id").aggregate(start=_.start.min(), end=_.end.max())
    return engine.to_arrow(whole.order_by("subject_id")).cast(OBSERVATION_SCHEMA)


def _seen(rows: Rows) -> pa.Table:
    """First and last contact of each patient, for sources that do not say when somebody could be seen."""
    texts = rows.texts["code"].to_pylist()
    is_contact = np.array([code != BIRTH and not code.startswith(SEX_PREFIX) for code in texts] + [False])
    contacts = rows.where(is_contact[rows.columns["code"]])
    first = np.flatnonzero(np.diff(contacts.subject, prepend=contacts.subject[:1] - 1))
    last = np.append(first[1:], len(contacts))[: len(first)] - 1
    time = contacts.columns["time"].view("datetime64[us]")
    return pa.table([contacts.subject[first], time[first], time[last]], schema=OBSERVATION_SCHEMA)


def _hospitals(rows: Rows) -> tuple[set[str], int]:
    """The hospitals of the rows, and how many patients have rows of more than one."""
    told = rows.where(rows.columns["hospital_id"] >= 0)
    place = told.columns["hospital_id"]
    if not len(told):
        return set(), 0
    first = np.flatnonzero(np.diff(told.subject, prepend=told.subject[:1] - 1))
    several = np.minimum.reduceat(place, first) != np.maximum.reduceat(place, first)
    names = rows.texts["hospital_id"].take(pa.array(np.flatnonzero(np.bincount(place)))).to_pylist()
    return set(names), int(np.count_nonzero(several))


def _quality(account: Account, raw: RawEvents, warned: dict[str, int]) -> dict:
    """The account as plain data, the commonest reason first."""
    sources_rows = {name: {"events": account.made[name], **told} for name, told in raw.rows.items()}
    return {
        "rows_in": account.rows_in,
        "used": account.used,
        "quarantined": dict(account.quarantined.most_common()),
        "dropped": dict(account.dropped.most_common()),
        "repaired": dict(account.repaired.most_common()),
        "warnings": dict(account.warned.most_common()) | raw.warnings | warned,
        "source_rows": sources_rows,
    }


def _write_metadata(clean: ir.Table, name: str, engine: Engine, target: Path) -> None:
    """What MEDS asks for beside the data."""
    make_folder(target / "metadata")
    codes = engine.to_arrow(clean.select("code").distinct())["code"].to_pylist()
    file = target / meds.code_metadata_filepath
    pq.write_table(meds_files.codes_table(codes), file, write_page_checksum=True)
    write_json(target / meds.dataset_metadata_filepath, meds_files.description(name))


def _description(clean: ir.Table, engine: Engine) -> dict:
    """What the events hold, for the report; the span leaves births out."""
    contacts = clean.filter(_.code != BIRTH, ~_.code.startswith(SEX_PREFIX))
    whole = clean.aggregate(patients=clean.subject_id.nunique(), codes=clean.code.nunique())
    row = engine.to_arrow(whole).to_pylist()[0]
    span = contacts.aggregate(first=contacts.time.min(), last=contacts.time.max())
    ends = engine.to_arrow(span).to_pylist()[0].values()
    return row | {"span": [None if end is None else end.date().isoformat() for end in ends]}


def _worst(quality: dict) -> str:
    return (
        ", ".join(
            f"{rows:,} {reason}" for reason, rows in (quality["quarantined"] | quality["dropped"]).items()
        )
        or "it has none"
    )


def _day(time: Deferred) -> Deferred:
    return time.date().delta(EPOCH, unit="day").cast("int32")
