"""The interface of all writers, and atomic writing of one file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.artifacts import atomic_file, make_folder
from claimscale.errors import BadInput


@dataclass(frozen=True)
class WriterOptions:
    """Options of a format; formats without the option ignore it.

    `csv`: tables as CSV instead of Parquet. `wareki`: dates of receipts in Japanese eras (GYYMMDD) instead of
    western years (YYYYMMDD).
    """

    csv: bool = False
    wareki: bool = False


class Writer(Protocol):
    """Writes one format below one folder.

    Shards may be written by several threads in any order. Each writes only files named after itself, and
    their bytes depend on the arguments alone. Raises BadInput for a folder that is not writable and for an
    event that the format cannot hold.
    """

    def write(self, events: pa.Table, shard: int) -> None:
        """Write one shard (whole patients), with the columns of `population.SCHEMA`."""
        ...

    def finish(self) -> None:
        """Write metadata and code tables; called once, after all shards."""
        ...


def write_bytes(file: Path, content: bytes | memoryview) -> None:
    """Write a file atomically; its folder is made."""
    with _written_whole(file) as partial:
        partial.write_bytes(content)


def write_parquet(file: Path, *tables: pa.Table) -> None:
    """Write tables atomically as the row groups of a Parquet file with page checksums; its folder is made."""
    with (
        _written_whole(file) as partial,
        pq.ParquetWriter(partial, tables[0].schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in tables:
            writer.write_table(table)


@contextlib.contextmanager
def _written_whole(file: Path) -> Iterator[Path]:
    make_folder(file.parent)
    try:
        with atomic_file(file) as partial:
            yield partial
    except OSError as error:
        raise BadInput(f"{file}: cannot be written ({error.strerror or error})") from None
