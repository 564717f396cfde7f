"""Tables on DuckDB, in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from claimscale.config.execution import EngineSettings
from claimscale.errors import BadInput

# Rows that a thread holds before it writes them to the files of their partitions. Few spare the memory that
# joins need at the same time (with 2 GB, 100,000 are a third faster than the default of 524,288 on 30M rows);
# too few to a file make files of tiny pieces.
LEAST_ROWS_HELD, MOST_ROWS_HELD = 100_000, 524_288
ROWS_HELD_PER_VALUE = 2_000


class DuckBackend:
    """DuckDB within a memory limit, spilling to the scratch folder."""

    def __init__(self, settings: EngineSettings, scratch: Path) -> None:
        self._connection = ibis.duckdb.connect(
            ":memory:",
            memory_limit=settings.memory,
            temp_directory=str(scratch / "spill"),
            # Row order is only ever what `order_by` asks for, so the engine need not buffer to keep it.
            preserve_insertion_order=False,
        )

    def close(self) -> None:
        self._connection.disconnect()

    def read_parquet(self, files: list[str]) -> ir.Table:
        with _in_our_terms(files[0], duckdb.IOException):
            return self._connection.read_parquet(files, union_by_name=len(files) > 1)

    def read_csv(self, files: list[str]) -> ir.Table:
        with _in_our_terms(files[0], duckdb.IOException):
            return self._connection.read_csv(
                files,
                all_varchar=True,
                header=True,
                delim=",",
                quote='"',
                escape='"',
                # Without these DuckDB guesses, and passes over lines that it takes for comments or titles.
                comment="",
                skip=0,
                strict_mode=True,
                union_by_name=True,
            )

    def write_parquet(self, table: ir.Table, file: Path) -> None:
        with _in_our_terms("source"):
            self._connection.to_parquet(table, file, compression="zstd")

    def write_partitions(self, table: ir.Table, folder: Path, by: str, values: int) -> None:
        held = min(max(LEAST_ROWS_HELD, ROWS_HELD_PER_VALUE * values), MOST_ROWS_HELD)
        self._connection.raw_sql(f"SET partitioned_write_flush_threshold = {held}")
        with _in_our_terms("source"):
            self._connection.to_parquet(table, folder, partition_by=by, compression="lz4")

    def to_arrow(self, table: ir.Table) -> pa.Table:
        with _in_our_terms("source"):
            return self._connection.to_pyarrow(table)


@contextlib.contextmanager
def _in_our_terms(place: object, *more: type[duckdb.Error]) -> Iterator[None]:
    """Faults of the data as BadInput, Ctrl-C as what it is everywhere else.

    Only the first line of an error is quoted: the next may hold a patient's row. Of a value that cannot be
    converted not even that, for it names the value.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Query interrupted":  # all that DuckDB says of it
            raise
        raise KeyboardInterrupt from None
    except duckdb.ConversionException:
        raise BadInput(f"{place}: cannot be read (a value is not of its column's type)") from None
    except (duckdb.InvalidInputException, *more) as error:
        cause = str(error).splitlines()[0]
        raise BadInput(f"{place}: cannot be read ({cause})") from None
