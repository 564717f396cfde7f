"""Where tables are worked on: Ibis expressions on DuckDB, with a cap on memory and a folder to spill to.

Only this module knows the engine. Everyone else writes Ibis expressions that mean the same on Spark: flat
rows, no asof joins, no `.hash()` or `.sample()`, no first or collect that relies on an order.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend as DuckDB

from claimscale import study
from claimscale.errors import BadInput
from claimscale.runs import make_folder


class Engine:
    """A connection that works within `settings.memory` and spills to disk beyond it.

    It connects when first used. `scratch` is a folder of its own, for what is spilled and for tables that a
    stage keeps while it works; it lies in `within` (the system's temporary folder unless told) and is removed
    when the engine is closed, or at the latest when Python ends.
    """

    def __init__(self, settings: study.Engine, within: Path | None = None) -> None:
        if within is not None:
            make_folder(within)
        self.scratch = Path(tempfile.mkdtemp(prefix="claimscale-", dir=within))
        self._memory = settings.memory
        self._remove_scratch = weakref.finalize(self, shutil.rmtree, self.scratch, ignore_errors=True)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if "_connection" in self.__dict__:
            self._connection.disconnect()
        self._remove_scratch()

    @functools.cached_property
    def _connection(self) -> DuckDB:
        return ibis.duckdb.connect(
            ":memory:",
            memory_limit=self._memory,
            temp_directory=str(self.scratch / "spill"),
            # Row order is only ever what `order_by` asks for, so the engine need not buffer to keep it.
            preserve_insertion_order=False,
        )

    def read_parquet(self, files: str | Path | Sequence[Path]) -> ir.Table:
        """The rows of all Parquet files listed, or matching the path or glob pattern.

        Columns are matched by name; a column that a file lacks is null there. Raises BadInput if a file
        cannot be read or none matches.
        """
        listed = [str(files)] if isinstance(files, str | Path) else [str(file) for file in files]
        with _in_our_terms(listed[0], duckdb.IOException):
            return self._connection.read_parquet(listed, union_by_name=len(listed) > 1)

    def read_csv(self, files: Sequence[Path]) -> ir.Table:
        """The rows of comma-separated files with one header line, every column a string, empty cells null.

        Columns are matched by name; a column that a file lacks is null there. Nothing is coerced: a code
        "0123" stays "0123". Raises BadInput if a file cannot be read.
        """
        with _in_our_terms(files[0], duckdb.IOException):
            return self._connection.read_csv(
                [str(file) for file in files],
                all_varchar=True,
                header=True,
                delim=",",
                quote='"',
                escape='"',
                strict_mode=True,
                union_by_name=True,
            )

    def write_parquet(self, table: ir.Table, file: Path) -> None:
        """Evaluate the table into one Parquet file, rows in no particular order."""
        with _in_our_terms("source"):
            self._connection.to_parquet(table, file, compression="zstd")

    def write_partitions(self, table: ir.Table, folder: Path, by: str) -> None:
        """Evaluate the table into files `<by>=<value>/*.parquet`, which do not have the column `by`."""
        with _in_our_terms("source"):
            self._connection.to_parquet(table, folder, partition_by=by, compression="lz4")

    def to_arrow(self, table: ir.Table) -> pa.Table:
        """Evaluate the table in memory; rows in the order of its last `order_by`, if any."""
        with _in_our_terms("source"):
            return self._connection.to_pyarrow(table)


@contextlib.contextmanager
def _in_our_terms(place: object, *more: type[duckdb.Error]) -> Iterator[None]:
    """Faults of the data as BadInput, Ctrl-C as what it is everywhere else.

    Only the first line of an error is quoted: the next may hold a patient's row.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Query interrupted":  # all that DuckDB says of it
            raise
        raise KeyboardInterrupt from None
    except (duckdb.InvalidInputException, duckdb.ConversionException, *more) as error:
        cause = str(error).splitlines()[0]
        raise BadInput(f"{place}: cannot be read ({cause})") from None
