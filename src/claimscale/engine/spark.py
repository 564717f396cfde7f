"""The same tables on Spark: `claimscale[spark]` and Java 17. A session starts once per process.

The memory limit is that of the driver, and applies to the first session of a process.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.artifacts import SPARK_SCRATCH
from claimscale.config.execution import EngineSettings
from claimscale.engine.csv_files import CsvFiles
from claimscale.engine.zones import zones_of
from claimscale.errors import BadInput

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "OFF",  # Spark's log may quote a row of a patient
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.binaryAsString": "true",
    # A cast that fails gives null, as on DuckDB.
    "spark.sql.ansi.enabled": "false",
    "spark.sql.shuffle.partitions": "8",
}


class SparkBackend:
    """Spark behind Ibis."""

    def __init__(self, settings: EngineSettings, scratch: Path) -> None:
        self._scratch = scratch
        self._numbers = itertools.count()
        self._csv = CsvFiles()
        self._session = _session(settings.master, settings.memory, scratch.parent)
        with _quiet():
            self._connection: Any = ibis.pyspark.connect(self._session)

    def close(self) -> None:
        """Keeps the session, which the next engine of this process uses."""

    def read_parquet(self, files: list[str]) -> ir.Table:
        with self._errors_as_bad_input(files[0]):
            merged = str(len(files) > 1).lower()
            from pyspark.sql import functions

            frame = self._session.read.option("mergeSchema", merged).parquet(*map(_absolute, files))
            for name, zone in zones_of(files).items():  # days are those of a time's own zone
                local = functions.from_utc_timestamp(frame[name], zone).cast("timestamp_ntz")
                frame = frame.withColumn(name, local)
            return self._table(frame)

    def read_csv(
        self, files: list[str], delimiter: str, named: Sequence[Path] | None, quoted: bool
    ) -> ir.Table:
        self._csv.add(files, delimiter, named, quoted)
        with self._errors_as_bad_input(named[0] if named else files[0]):
            quote = '"' if quoted else ""
            reader = self._session.read.options(
                header=True, sep=delimiter, quote=quote, escape=quote, multiLine=quoted
            )
            frames = [reader.option("mode", "FAILFAST").csv(_absolute(file)) for file in files]
            whole = frames[0]
            for frame in frames[1:]:
                whole = whole.unionByName(frame, allowMissingColumns=True)
            return self._table(whole)

    def _table(self, frame: Any) -> ir.Table:
        name = f"claims_{id(self)}_{next(self._numbers)}"
        frame.createOrReplaceTempView(name)
        return self._connection.table(name)

    def write_parquet(self, table: ir.Table, file: Path) -> None:
        """Spark writes a folder; its parts are joined into one file, row group by row group."""
        folder = self._scratch / f"parts_{next(self._numbers)}"
        with self._errors_as_bad_input("source"):
            self._frame(table).write.parquet(str(folder))
        schema = table.schema().to_pyarrow()
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for part in sorted(folder.glob("*.parquet")):
                content = pq.ParquetFile(part)
                for group in range(content.num_row_groups):
                    writer.write_table(content.read_row_group(group).cast(schema))
        shutil.rmtree(folder)

    def write_partitions(self, table: ir.Table, folder: Path, by: str, values: int) -> None:
        with self._errors_as_bad_input("source"):
            self._frame(table).write.partitionBy(by).parquet(str(folder))

    def to_arrow(self, table: ir.Table) -> pa.Table:
        with self._errors_as_bad_input("source"):
            return self._connection.to_pyarrow(table).cast(table.schema().to_pyarrow())

    def _frame(self, table: ir.Table) -> Any:
        with _quiet():
            self._connection._run_pre_execute_hooks(table)
            return self._session.sql(self._connection.compile(table))

    @contextlib.contextmanager
    def _errors_as_bad_input(self, place: object) -> Iterator[None]:
        """Errors of the data as BadInput, without Spark's messages, which may hold a row of a patient."""
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        try:
            with _quiet():
                yield
        except (PySparkException, Py4JJavaError) as error:
            if found := self._csv.first_cause():
                raise BadInput(found) from None
            if isinstance(error, PySparkException):
                cause = error.getCondition() or type(error).__name__
            else:
                cause = error.java_exception.getClass().getName()
            raise BadInput(f"{place}: cannot be read ({cause})") from None


def _absolute(file: str) -> str:
    """The JVM keeps the working folder of its start; this process may have changed its own."""
    return str(Path(file).absolute())


def _session(master: str, memory: str, within: Path) -> Any:
    """Raises BadInput if Spark or Java is missing."""
    needs = "engine.kind: spark needs claimscale[spark] and Java 17"
    if shutil.which("java") is None:
        raise BadInput(f"{needs} (there is no java)")
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise BadInput(f"{needs} (there is no pyspark)") from None
    if (running := SparkSession.getActiveSession()) is not None:
        return running
    builder: Any = SparkSession.builder
    # The session outlives this engine, so its spill folder must too.
    spill = tempfile.mkdtemp(prefix=f"{SPARK_SCRATCH}{os.getpid()}-", dir=within)
    atexit.register(shutil.rmtree, spill, ignore_errors=True)
    given = SETTINGS | {"spark.driver.memory": memory.removesuffix("B").lower(), "spark.local.dir": spill}
    for key, value in given.items():
        builder = builder.config(key, value)
    try:
        with _quiet():
            return builder.master(master).appName("claimscale").getOrCreate()
    except Exception as error:  # errors of the JVM at its start
        raise BadInput(f"{needs} ({type(error).__name__} at engine.master: {master})") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PySpark warns about pandas 3, which is not used here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
