"""The engine that evaluates Ibis expressions: DuckDB or Spark.

Only this package knows the engines. Other modules write expressions with the same meaning on both: flat rows,
no asof joins, no `.hash()` or `.sample()`, no `first` or `collect` that relies on an order.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa

from claimscale.artifacts import make_folder
from claimscale.config.execution import EngineSettings

if TYPE_CHECKING:
    from claimscale.engine.duck import DuckBackend
    from claimscale.engine.spark import SparkBackend


class Engine:
    """A connection that works within `settings.memory` and spills to disk beyond it.

    It connects at first use. `scratch` is a folder for spilled data and for temporary tables of a stage. It
    is made in `within` (by default the temporary folder of the system), and removed when the engine is closed
    or Python ends.
    """

    def __init__(self, settings: EngineSettings, within: Path | None = None) -> None:
        if within is not None:
            make_folder(within)
        self.scratch = Path(tempfile.mkdtemp(prefix="claimscale-", dir=within))
        self._settings = settings
        self._remove_scratch = weakref.finalize(self, shutil.rmtree, self.scratch, ignore_errors=True)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if "_backend" in self.__dict__:
            self._backend.close()
        self._remove_scratch()

    @functools.cached_property
    def _backend(self) -> DuckBackend | SparkBackend:
        if self._settings.kind == "spark":
            from claimscale.engine.spark import SparkBackend  # an optional dependency

            return SparkBackend(self._settings, self.scratch)
        from claimscale.engine.duck import DuckBackend

        return DuckBackend(self._settings, self.scratch)

    def read_parquet(self, files: str | Path | Sequence[Path]) -> ir.Table:
        """The rows of all Parquet files listed, or matching the path or glob pattern.

        Columns are matched by name; a column that a file lacks is null there. Raises BadInput if a file
        cannot be read or none matches.
        """
        listed = [str(files)] if isinstance(files, str | Path) else [str(file) for file in files]
        return self._backend.read_parquet(listed)

    def read_csv(
        self,
        files: Sequence[Path],
        delimiter: str = ",",
        named: Sequence[Path] | None = None,
        *,
        quoted: bool = True,
    ) -> ir.Table:
        """The rows of CSV files with one header line, every column a string, empty cells null.

        Columns are matched by name; a column that a file lacks is null there. Texts are unchanged: "0123"
        stays "0123". Files whose names end in `.gz` are gzipped. `named`: the names of the files in errors.
        `quoted`: whether a cell may be quoted; if not, quotes are characters as any other.
        Raises BadInput, here or when rows are evaluated, with the file and line of a row that cannot be read.
        """
        return self._backend.read_csv([str(file) for file in files], delimiter, named, quoted)

    def write_parquet(self, table: ir.Table, file: Path) -> None:
        """Evaluate the table into one Parquet file, rows in no particular order."""
        self._backend.write_parquet(table, file)

    def write_partitions(self, table: ir.Table, folder: Path, by: str, values: int) -> None:
        """Evaluate the table into files `<by>=<value>/*.parquet`, without the column `by`.

        `values`: about how many values the column has.
        """
        self._backend.write_partitions(table, folder, by, values)

    def to_arrow(self, table: ir.Table) -> pa.Table:
        """Evaluate the table in memory; rows in the order of its last `order_by`, if any."""
        return self._backend.to_arrow(table)

    def count(self, table: ir.Table) -> int:
        """How many rows the table has."""
        return self.to_arrow(table.aggregate(rows=table.count()))["rows"][0].as_py()
