"""Tables on DuckDB, in this process."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.datatypes as dtypes
import ibis.expr.types as ir
import pyarrow as pa

from claimscale.config.execution import EngineSettings
from claimscale.engine.csv_files import CsvFiles
from claimscale.engine.zones import offset_of, zones_of
from claimscale.errors import BadInput

# Rows that a thread buffers before it writes them to the files of their partitions. A small buffer leaves
# memory to joins (with 2 GB, 100,000 rows are a third faster than the default of 524,288 on 30M rows). A very
# small one makes many tiny row groups.
MIN_BUFFERED_ROWS, MAX_BUFFERED_ROWS = 100_000, 524_288
BUFFERED_ROWS_PER_VALUE = 2_000

NOT_UTF8 = re.compile(r'Invalid string encoding found in Parquet file "([^"]*)"')
TIMES_IN_NANOSECONDS, ALL_NULL = "TIMESTAMPTZ_NS", ("NULL", '"NULL"')
"""Types of DuckDB that Ibis has no name for: times with a zone, and columns without any value."""


@ibis.udf.scalar.builtin(
    signature=((dtypes.string, dtypes.Timestamp(timezone="UTC")), dtypes.Timestamp(scale=6))
)
def timezone(zone, time):
    """The time on the clocks of a zone."""


class DuckBackend:
    """DuckDB within a memory limit, spilling to the scratch folder."""

    def __init__(self, settings: EngineSettings, scratch: Path) -> None:
        self._connection = ibis.duckdb.connect(
            ":memory:",
            memory_limit=settings.memory,
            temp_directory=str(scratch / "spill"),
            # Only `order_by` defines an order of rows, so the engine need not keep any other.
            preserve_insertion_order=False,
        )
        # Times become days in UTC or in their own zone. By default the zone of the machine would decide.
        self._connection.raw_sql("SET TimeZone = 'UTC'")
        self._csv = CsvFiles()

    def close(self) -> None:
        self._connection.disconnect()

    def read_parquet(self, files: list[str]) -> ir.Table:
        with self._errors_as_bad_input(files[0], duckdb.IOException):
            # Writers without the text annotation of Parquet (Impala, old Spark) write text as bytes.
            table = self._connection.read_parquet(files, union_by_name=len(files) > 1, binary_as_string=True)
            return self._in_own_zones(self._with_known_types(table), zones_of(files))

    def _in_own_zones(self, table: ir.Table, zones: Mapping[str, str]) -> ir.Table:
        """Times with a zone as the clock of that zone shows them."""
        local: dict[str, Any] = {}
        for name, zone in zones.items():
            time: Any = table[name]
            offset = offset_of(zone)
            if offset is None:
                self._check_zone(zone)
                local[name] = timezone(zone, time)
            else:
                local[name] = time.cast("timestamp(6)") + ibis.interval(seconds=int(offset.total_seconds()))
        return table.mutate(**local) if local else table

    def _check_zone(self, zone: str) -> None:
        try:
            self._connection.con.execute("SELECT timezone(?, current_timestamp)", [zone]).fetchall()
        except duckdb.Error:
            raise BadInput(f"{zone}: is the time zone of a column, and is not known") from None

    def _with_known_types(self, table: ir.Table) -> ir.Table:
        if not any(kind.is_unknown() for kind in table.schema().values()):
            return table
        described = self._connection.raw_sql(f'DESCRIBE "{table.get_name()}"').fetchall()
        known: dict[str, ir.Value] = {}
        for name, kind, *_ in described:
            if kind == TIMES_IN_NANOSECONDS:
                known[name] = table[name].cast("timestamp('UTC', 6)")
            elif kind in ALL_NULL:
                known[name] = ibis.null()
        return table.mutate(**known)

    def read_csv(
        self, files: list[str], delimiter: str, named: Sequence[Path] | None, quoted: bool
    ) -> ir.Table:
        self._csv.add(files, delimiter, named, quoted)
        with self._errors_as_bad_input(named[0] if named else files[0], duckdb.IOException):
            return self._connection.read_csv(
                files,
                all_varchar=True,
                header=True,
                delim=delimiter,
                quote='"' if quoted else "",
                escape='"' if quoted else "",
                # By default DuckDB detects these, and skips lines that look like comments or titles.
                comment="",
                skip=0,
                strict_mode=True,
                union_by_name=True,
            )

    def write_parquet(self, table: ir.Table, file: Path) -> None:
        with self._errors_as_bad_input("source"):
            self._connection.to_parquet(table, file, compression="zstd")

    def write_partitions(self, table: ir.Table, folder: Path, by: str, values: int) -> None:
        rows = min(max(MIN_BUFFERED_ROWS, BUFFERED_ROWS_PER_VALUE * values), MAX_BUFFERED_ROWS)
        self._connection.raw_sql(f"SET partitioned_write_flush_threshold = {rows}")
        with self._errors_as_bad_input("source"):
            self._connection.to_parquet(table, folder, partition_by=by, compression="lz4")

    def to_arrow(self, table: ir.Table) -> pa.Table:
        with self._errors_as_bad_input("source"):
            return self._connection.to_pyarrow(table)

    @contextlib.contextmanager
    def _errors_as_bad_input(self, place: object, *more: type[duckdb.Error]) -> Iterator[None]:
        """Errors of the data as BadInput, and Ctrl-C as KeyboardInterrupt.

        Only the first line of an error is quoted, because the next may hold a row of a patient. Conversion
        errors are not quoted, because they name the value.
        """
        try:
            yield
        except RuntimeError as error:
            if str(error) != "Query interrupted":  # the message of Ctrl-C in DuckDB
                raise
            raise KeyboardInterrupt from None
        except duckdb.ConversionException:
            raise BadInput(f"{place}: cannot be read (a value is not of its column's type)") from None
        except (duckdb.InvalidInputException, *more) as error:
            if found := self._csv.cause(str(error)):
                raise BadInput(found) from None
            if not_text := NOT_UTF8.search(str(error)):  # the value follows in the message
                raise BadInput(f"{not_text[1]}: holds text that is not UTF-8") from None
            cause = str(error).splitlines()[0]
            raise BadInput(f"{place}: cannot be read ({cause})") from None
