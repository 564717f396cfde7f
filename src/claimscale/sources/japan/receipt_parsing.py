"""UKE files parsed in parallel into Parquet: chunks of files, one process each."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.errors import BadInput
from claimscale.sources.japan.receipt_clinical import ParsedReceipts, ReceiptEvent, ReceiptRow
from claimscale.sources.japan.receipt_records import ReceiptReader
from claimscale.sources.japan.text_files import blocks_of
from claimscale.sources.raw import RowCounts

CHUNK_BYTES = 64 << 20
"""Files of about this size together make one part. A process needs less than 0.5 GB to parse them."""
ROW_GROUP = 200_000

TYPES = {
    "receipt": pa.int64(),
    "suspected": pa.bool_(),
    "is_stay": pa.bool_(),
    "numeric_value": pa.float32(),
    **dict.fromkeys(("day", "first_day", "last_day", "birth", "admission"), pa.date32()),
}
EVENTS, RECEIPTS = (
    pa.schema([(name, TYPES.get(name, pa.string())) for name in row._fields])
    for row in (ReceiptEvent, ReceiptRow)
)
Chunk = list[tuple[int, Path]]
"""Files with their place among all files."""


def parse_files(
    files: Sequence[Path], by_insurance: bool, suspected: frozenset[str], folder: Path
) -> RowCounts:
    """Parse all files into `folder`. The parts do not depend on the number of processes."""
    chunks = list(_chunks(files))
    parse = functools.partial(parse_chunk, by_insurance=by_insurance, suspected=suspected, folder=folder)
    counts = RowCounts()
    processes = min(len(chunks), os.cpu_count() or 1)
    if processes < 2:
        for part in map(parse, range(len(chunks)), chunks):
            counts.add(part)
        return counts
    # The engine's threads do not survive a fork.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        for part in pool.map(parse, range(len(chunks)), chunks):
            counts.add(part)
    finally:
        pool.shutdown(cancel_futures=True)
    return counts


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
    place: int, chunk: Chunk, by_insurance: bool, suspected: frozenset[str], folder: Path
) -> RowCounts:
    """Parse files into `events-<place>.parquet` and `receipts-<place>.parquet`."""
    parsed = ParsedReceipts()
    reader = ReceiptReader(by_insurance, suspected, parsed)
    with (
        pq.ParquetWriter(folder / f"events-{place:06d}.parquet", EVENTS, compression="lz4") as events,
        pq.ParquetWriter(folder / f"receipts-{place:06d}.parquet", RECEIPTS, compression="lz4") as receipts,
    ):

        def flush(least: int) -> None:
            for rows, writer in ((parsed.events, events), (parsed.receipts, receipts)):
                if len(rows) >= least:
                    writer.write_table(as_table(rows, writer.schema))
                    rows.clear()

        def blocks(file: Path) -> Iterator[bytes]:
            for block in blocks_of(file):
                yield block
                flush(ROW_GROUP)

        for number, file in chunk:
            reader.read(str(file), blocks(file), number)
        flush(1)
    return parsed.counts


def as_table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [
        pa.array(values, pa.int32()).cast(kind.type)
        if pa.types.is_date32(kind.type)
        else pa.array(values, kind.type)
        for values, kind in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
