"""Electronic receipts (レセプト電算処理, UKE files of 医科 and DPC) as raw events.

A receipt is a patient's claim of one month at one facility; what it tells is known when the month is over.
Files are independent of each other: chunks of them are parsed side by side into Parquet parts.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale.artifacts import make_folder
from claimscale.codes.systems import BIRTH, DEATH, SEX_PREFIX
from claimscale.config.sources import ReceiptSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.casting import NO_TEXT, Expression
from claimscale.sources.japan import masters as master_files, receipt_records
from claimscale.sources.japan.receipt_records import ADMISSION, NOT_MEDICAL, Reader, Told
from claimscale.sources.japan.text_files import blocks_of
from claimscale.sources.raw import RawEvents, raw_events

CHUNK_BYTES = 64 << 20
"""Files of about so many bytes become one part. A process holds less than 0.5 GB while it parses."""
ROWS_AT_ONCE = 200_000

EVENTS = pa.schema(
    {
        "receipt": pa.int64(),
        "origin": pa.string(),
        "code": pa.string(),
        "day": pa.date32(),
        "suspected": pa.bool_(),
        "numeric_value": pa.float32(),
        "fault": pa.string(),
    }
)
RECEIPTS = pa.schema(
    {
        "receipt": pa.int64(),
        "patient": pa.string(),
        "hospital_id": pa.string(),
        "kind": pa.string(),
        "first_day": pa.date32(),
        "last_day": pa.date32(),
        "birth": pa.date32(),
        "sex": pa.string(),
        "is_stay": pa.bool_(),
        "admission": pa.date32(),
    }
)
Chunk = list[tuple[int, Path]]
"""Files with their place among all files."""


def files_of(source: ReceiptSource) -> dict[str, list[Path]]:
    """All UKE files below the folder, and the masters. Raises BadInput if there are none."""
    folder = Path(source.path)
    if not folder.is_dir():
        raise BadInput(f"source.path: {folder} is not a folder")
    receipts = sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".uke" and file.is_file())
    if not receipts:
        raise BadInput(f"source.path: {folder} holds no receipts (*.UKE)")
    return {"receipts": receipts, "masters": master_files.files_of(source.masters)}


def read(source: ReceiptSource, engine: Engine, scratch: Path) -> RawEvents:
    """All receipts as raw events. Raises BadInput for a file that is no UKE file, with the line."""
    files = files_of(source)["receipts"]
    masters = master_files.load(source.masters)
    parts = scratch / "receipts"
    make_folder(parts)
    account = _parse(files, source.patient == "insurance", masters.suspected, parts)
    receipts = _with_visits(parts, engine)
    events = engine.read_parquet(parts / "events-*.parquet")
    events = master_files.translated(events, masters, engine, parts / "masters.parquet")
    people, admissions = _people(receipts), _admissions(receipts)
    _account_for_receipts(account, people, admissions, engine)
    rows = {
        origin: {"rows": lines, "without_event": dict(account.without_event[origin])}
        for origin, lines in sorted(account.lines.items())
    }
    warnings = account.warnings + _notes(events, engine)
    table = ibis.union(_events(events, receipts), _births(people), _admitted(admissions))
    return RawEvents(
        table,
        rows,
        patients=receipts.select("patient"),
        events=account.events + 3 * account.lines["RE"],
        warnings=dict(sorted(warnings.items())),
    )


@dataclass
class Account:
    """The lines of files by record, why some of them make no event, and what users should know."""

    events: int = 0
    lines: Counter[str] = field(default_factory=Counter)
    without_event: dict[str, Counter[str]] = field(default_factory=functools.partial(defaultdict, Counter))
    warnings: Counter[str] = field(default_factory=Counter)

    def add(self, other: Account | Told, events: int) -> None:
        self.events += events
        self.lines += other.lines
        self.warnings += other.warnings
        for origin, reasons in other.without_event.items():
            self.without_event[origin] += reasons


def _parse(files: Sequence[Path], by_insurance: bool, suspected: frozenset[str], parts: Path) -> Account:
    """Parse all files into `parts`; the same files make the same parts, whatever the number of processes."""
    chunks = list(_chunks(files))
    parse = functools.partial(parse_chunk, by_insurance=by_insurance, suspected=suspected, parts=parts)
    account = Account()
    processes = min(len(chunks), os.cpu_count() or 1)
    if processes < 2:
        for place, chunk in enumerate(chunks):
            account.add(part := parse(place, chunk), part.events)
        return account
    # Threads of the engine do not survive a fork.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        for part in pool.map(parse, range(len(chunks)), chunks):
            account.add(part, part.events)
    finally:
        pool.shutdown(cancel_futures=True)
    return account


def _chunks(files: Sequence[Path]) -> Iterator[Chunk]:
    chunk: Chunk = []
    size = 0
    for number, file in enumerate(files):
        chunk.append((number, file))
        try:
            size += file.stat().st_size
        except OSError as error:
            raise BadInput(f"{file}: cannot be read ({error.strerror})") from None
        if size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def parse_chunk(
    place: int, chunk: Chunk, by_insurance: bool, suspected: frozenset[str], parts: Path
) -> Account:
    """Parse files into `events-<place>.parquet` and `receipts-<place>.parquet`."""
    account = Account()
    told = Told()
    reader = Reader(by_insurance, suspected, told)
    with (
        pq.ParquetWriter(parts / f"events-{place:06d}.parquet", EVENTS, compression="lz4") as events,
        pq.ParquetWriter(parts / f"receipts-{place:06d}.parquet", RECEIPTS, compression="lz4") as receipts,
    ):

        def flush(least: int) -> None:
            for rows, writer, schema in ((told.events, events, EVENTS), (told.receipts, receipts, RECEIPTS)):
                if len(rows) >= least:
                    account.events += len(rows) if rows is told.events else 0
                    writer.write_table(_table(rows, schema))
                    rows.clear()

        for number, file in chunk:

            def blocks(file: Path = file) -> Iterator[bytes]:
                for block in blocks_of(file):
                    yield block
                    flush(ROWS_AT_ONCE)

            receipt_records.read(str(file), blocks(), number, reader)
        flush(1)
    account.add(told, 0)
    return account


def _table(rows: Sequence[tuple], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [_array(values, kind.type) for values, kind in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: tuple, kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.int32()).cast(kind) if pa.types.is_date32(kind) else pa.array(values, kind)


def _with_visits(parts: Path, engine: Engine) -> ir.Table:
    """The receipts, with `visit`: the number of a patient's claim of a month, a hospital and a kind.

    A receipt that was sent again has the number of the first, so that what it repeats is an exact repeat. The
    number is told by the order of all receipts: it holds nothing of the patient's own number.
    """
    receipts = engine.read_parquet(parts / "receipts-*.parquet")
    receipts = receipts.mutate(
        of=ibis.coalesce(_.patient, ""),
        month=ibis.coalesce(_.first_day.cast("string"), ""),
        since=ibis.coalesce(_.admission.cast("string"), ""),
    )
    keys = ("hospital_id", "month", "of", "kind", "since")
    numbers = receipts.select(*keys).distinct()
    numbers = numbers.mutate(visit=ibis.row_number().over(order_by=keys) + 1)
    numbered = receipts.inner_join(numbers, keys).drop("of", "month", "since")
    engine.write_parquet(numbered, parts / "visits.parquet")
    return engine.read_parquet(parts / "visits.parquet")


@dataclass(frozen=True)
class _People:
    """Births and sexes that receipts tell, each once, with `receipt`, the first to tell it."""

    births: ir.Table
    sexes: ir.Table


def _people(receipts: ir.Table) -> _People:
    """What is wrong stays receipt by receipt. Of several sexes the one told by more receipts stands.

    A known sex stands before an unknown one; in a draw all are handed on, and the gate decides for none.
    """
    is_faulty = _.patient.isnull() | _.birth.isnull()
    told = receipts.mutate(single=is_faulty.ifelse(_.receipt, ibis.literal(0, "int64")))
    births = told.group_by("patient", "birth", "single").aggregate(receipt=_.receipt.min())
    sexes = told.group_by("patient", "sex", "single").aggregate(
        birth=_.birth.min(), receipt=_.receipt.min(), told=_.receipt.count()
    )
    is_known: Expression = sexes.sex != SEX_PREFIX + "U"
    sexes = sexes.mutate(told=is_known.ifelse(sexes.told, ibis.literal(0, "int64")))
    most = sexes.told.max().over(ibis.window(group_by=["patient", "single"]))
    lost = ibis.ifelse(sexes.told < most, "contradicts another sex", NO_TEXT)
    return _People(births, sexes.mutate(lost=lost))


def _admissions(receipts: ir.Table) -> ir.Table:
    """Each admission once: a stay's receipts of later months tell it again."""
    is_faulty = _.patient.isnull() | _.admission.isnull() | _.last_day.isnull()
    told = receipts.filter(_.is_stay).mutate(single=is_faulty.ifelse(_.receipt, ibis.literal(0, "int64")))
    return told.group_by("patient", "hospital_id", "admission", "single").aggregate(
        receipt=_.receipt.min(), visit=_.visit.min(), last_day=_.last_day.min()
    )


def _account_for_receipts(account: Account, people: _People, admissions: ir.Table, engine: Engine) -> None:
    tables = (people.births, people.sexes, admissions)
    told = ibis.union(*(table.select("receipt") for table in tables)).distinct()
    foreign = account.without_event["RE"][NOT_MEDICAL]
    repeats = account.lines["RE"] - foreign - engine.count(told)
    if repeats:
        account.without_event["RE"]["birth, sex and admission told before"] += repeats


def _notes(events: ir.Table, engine: Engine) -> Counter[str]:
    """How many events have a code that the masters lack, give no target, or have abolished."""
    noted = events.filter(_.note.notnull()).group_by("note").aggregate(events=_.count())
    found = engine.to_arrow(noted).to_pydict()
    return Counter(dict(zip(found["note"], found["events"], strict=True)))


def _no_patient(table: ir.Table) -> Expression:
    is_missing: Expression = table.patient.isnull()
    return is_missing.ifelse("missing patient", NO_TEXT)


def _no_date(day: Expression) -> Expression:
    return day.isnull().ifelse("unreadable date", NO_TEXT)


def _events(events: ir.Table, receipts: ir.Table) -> ir.Table:
    of = receipts.select("receipt", "patient", "hospital_id", "visit", "last_day")
    joined = events.inner_join(of, "receipt")
    # A discharge tells the day of a death; what diseases tell of it, on any receipt, is its month.
    discharged = joined.filter(_.origin == "BU", _.code == DEATH, _.day.notnull(), _.fault.isnull())
    discharged = discharged.select(dead="patient").distinct()
    joined = joined.left_join(discharged, [("patient", "dead")])
    is_told = (joined.origin == "SY") & (joined.code == DEATH) & joined.dead.notnull()
    told = ibis.ifelse(is_told, "contradicts another death date", NO_TEXT)
    return raw_events(
        joined,
        time=joined.day,
        code=joined.code,
        numeric_value=joined.numeric_value,
        hospital_id=joined.hospital_id,
        visit_id=joined.visit.cast("string"),
        available_at=joined.last_day,
        suspected=joined.suspected,
        origin=joined.origin,
        fault=ibis.coalesce(joined.fault, _no_patient(joined), _no_date(joined.last_day), told),
    )


def _births(people: _People) -> ir.Table:
    def told(table: ir.Table, code: Expression, lost: Expression) -> ir.Table:
        fault = ibis.coalesce(_no_patient(table), _no_date(table.birth), lost)
        return raw_events(table, time=table.birth, code=code, origin=ibis.literal("RE"), fault=fault)

    births, sexes = people.births, people.sexes
    return ibis.union(told(births, ibis.literal(BIRTH), NO_TEXT), told(sexes, sexes.sex, sexes.lost))


def _admitted(admissions: ir.Table) -> ir.Table:
    return raw_events(
        admissions,
        time=admissions.admission,
        code=ibis.literal(ADMISSION),
        hospital_id=admissions.hospital_id,
        visit_id=admissions.visit.cast("string"),
        available_at=admissions.last_day,
        origin=ibis.literal("RE"),
        fault=ibis.coalesce(
            _no_patient(admissions), _no_date(admissions.admission), _no_date(admissions.last_day)
        ),
    )
