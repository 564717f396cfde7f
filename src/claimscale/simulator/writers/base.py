"""What every writer is, and how one of its files comes to lie on the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.artifacts import make_folder
from claimscale.errors import BadInput


@dataclass(frozen=True)
class WriterOptions:
    """What a user may choose about a format.

    `csv`: tables as CSV instead of Parquet. `wareki`: dates of receipts in Japanese eras (GYYMMDD) instead
    of western ones (YYYYMMDD). Formats that know no such choice ignore it.
    """

    csv: bool = False
    wareki: bool = False


class Writer(Protocol):
    """One format below one folder.

    Shards may come from several threads and in any order: each touches only files named after itself, and
    their bytes follow from the arguments alone. Raises BadInput for a folder that cannot be written and for
    an event that the format has no place for.
    """

    def write(self, events: pa.Table, shard: int) -> None:
        """Write one shard (whole patients), with the columns of `population.SCHEMA`."""
        ...

    def finish(self) -> None:
        """Write what belongs to the whole (metadata, code tables); called once, in the end."""
        ...


def write_bytes(file: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all; its folder must exist."""
    with _appearing_whole(file) as partial:
        partial.write_bytes(content)


def write_parquet(file: Path, table: pa.Table) -> None:
    """Write a table as Parquet with page checksums, whole or not at all; makes the folder."""
    make_folder(file.parent)
    with _appearing_whole(file) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


@contextlib.contextmanager
def _appearing_whole(file: Path) -> Iterator[Path]:
    partial = file.with_name(file.name + ".partial")
    try:
        yield partial
        partial.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise BadInput(f"{file}: cannot be written ({error.strerror or error})") from None
