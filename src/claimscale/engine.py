"""Where tables are worked on: Ibis expressions on DuckDB, with a cap on memory and a folder to spill to.

Only this module knows the engine. Everyone else writes Ibis expressions that mean the same on Spark: flat
rows, no asof joins, no `.hash()` or `.sample()`, no first or collect that relies on an order.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from claimscale import study
from claimscale.errors import BadInput
from claimscale.runs import make_folder


class Engine:
    """A connection that works within `settings.memory` and spills to a folder under `scratch`.

    Use it as a context manager: closing removes what was spilled. `scratch` stays, for tables that a stage
    keeps on disk while it works; they are the stage's to remove.
    """

    def __init__(self, settings: study.Engine, scratch: Path) -> None:
        self.scratch = scratch
        self._spill = scratch / "spill"
        make_folder(self._spill)
        self._connection = ibis.duckdb.connect(
            ":memory:",
            memory_limit=settings.memory,
            temp_directory=str(self._spill),
            # Row order is only ever what `order_by` asks for, so the engine need not buffer to keep it.
            preserve_insertion_order=False,
        )

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.disconnect()
        shutil.rmtree(self._spill, ignore_errors=True)

    def read_parquet(self, pattern: str | Path) -> ir.Table:
        """The rows of all Parquet files that match the path or glob pattern. Raises BadInput if none does."""
        with _as_bad_input(pattern, duckdb.IOException):
            return self._connection.read_parquet(str(pattern))

    def read_csv(self, files: Sequence[Path]) -> ir.Table:
        """The rows of comma-separated files with one header line, every column a string, empty cells null.

        Columns are matched by name; a column that a file lacks is null there. Nothing is coerced: a code
        "0123" stays "0123". Raises BadInput if a file cannot be read.
        """
        with _as_bad_input(files[0], duckdb.IOException):
            return self._connection.read_csv(
                [str(file) for file in files], all_varchar=True, header=True, delim=",", union_by_name=True
            )

    def write_parquet(self, table: ir.Table, file: Path) -> None:
        """Evaluate the table into one Parquet file, rows in no particular order."""
        with _as_bad_input("source"):
            self._connection.to_parquet(table, file, compression="zstd")

    def to_arrow(self, table: ir.Table) -> pa.Table:
        """Evaluate the table in memory; rows in the order of its last `order_by`, if any."""
        with _as_bad_input("source"):
            return self._connection.to_pyarrow(table)


@contextlib.contextmanager
def _as_bad_input(place: object, *more: type[duckdb.Error]) -> Iterator[None]:
    """Faults of the data as BadInput. Only the first line is quoted: the next may hold a patient's row."""
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.ConversionException, *more) as error:
        cause = str(error).splitlines()[0]
        raise BadInput(f"{place}: cannot be read ({cause})") from None
