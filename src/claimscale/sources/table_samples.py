"""Samples of unknown tables: the first rows of the files of a folder, every cell as text.

A sample is read within seconds from files of any size. It is for drafts and previews: no event is made of it.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from claimscale.engine.csv_files import open_text
from claimscale.errors import BadInput
from claimscale.sources.csv_checks import DELIMITERS
from claimscale.sources.table_files import FORMATS, ending, parts_of, stem_of

ROWS, FILES = 20_000, 3
"""Rows of a sample, and the files of a table among which they are divided."""
ENCODINGS = ("utf-8", "cp932", "cp1252")


@dataclass(frozen=True)
class TableSample:
    """The first rows of a table.

    Attributes:
        files: all files of the table, of which at most FILES are sampled.
        table: the rows, column names in lower case; columns of CSV are texts, and empty cells null.
        encoding: of CSV files, the first of ENCODINGS in which the sample can be read.
    """

    name: str
    files: Sequence[Path]
    table: pa.Table
    encoding: str = "utf-8"

    @property
    def rows(self) -> int:
        return self.table.num_rows

    @property
    def types(self) -> dict[str, str]:
        """`text`, `number`, `date` or `other` by column, as the file declares."""
        return {field.name: _type_name(field.type) for field in self.table.schema}

    @cached_property
    def columns(self) -> dict[str, list[str]]:
        """The cells of each column as text; empty cells are empty texts."""
        return {name: _texts(self.table[name]) for name in self.table.column_names}


def tables_of(folder: Path) -> dict[str, list[Path]]:
    """The tables of a folder, by name: a file of a known format, or a folder of such files.

    Raises BadInput if there is none.
    """
    found: dict[str, list[Path]] = {}
    for place in sorted(folder.iterdir()):
        if place.name.startswith(("_", ".")):
            continue
        files = list(parts_of(place)) if place.is_dir() else [place] if ending(place.name) else []
        if files:
            found.setdefault(stem_of(place.name), []).extend(files)
    if not found:
        raise BadInput(f"{folder}: holds no table ({', '.join(FORMATS)})")
    return found


def sample(name: str, files: Sequence[Path], rows: int = ROWS, encoding: str | None = None) -> TableSample:
    """The first rows of some of a table's files. `encoding`: of CSV; None tries all.

    Raises BadInput for a file that cannot be read.
    """
    chosen = [files[place] for place in sorted({0, len(files) // 2, len(files) - 1})]
    if FORMATS[ending(files[0].name)] == "Parquet":
        return _of_parquet(name, files, chosen, rows // len(chosen))
    for tried in (encoding,) if encoding else ENCODINGS:
        try:
            columns = _csv_columns(chosen, tried, rows // len(chosen))
        except UnicodeDecodeError:
            continue
        cells = {key: pa.array([one or None for one in found], pa.string()) for key, found in columns.items()}
        return TableSample(name, files, pa.table(cells), tried)
    raise BadInput(f"{files[0]}: is no text in {', '.join((encoding,) if encoding else ENCODINGS)}")


def _csv_columns(files: Sequence[Path], encoding: str, rows: int) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for file in files:
        try:
            with open_text(file, encoding) as stream:
                header = stream.readline()
                if not header.strip():
                    raise BadInput(f"{file}: is empty")
                delimiter = max(DELIMITERS, key=lambda one: len(next(csv.reader([header], delimiter=one))))
                names = [each.strip().lower() for each in next(csv.reader([header], delimiter=delimiter))]
                listed = list(itertools.islice(csv.reader(stream, delimiter=delimiter), rows))
        except csv.Error:
            raise BadInput(f"{file}: is no table of cells with a delimiter") from None
        except (OSError, EOFError) as error:
            raise BadInput(
                f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'cut off'})"
            ) from None
        for place, name in enumerate(names):
            cells = [row[place].strip() if place < len(row) else "" for row in listed]
            columns.setdefault(name, []).extend(cells)
    return columns


def _of_parquet(name: str, files: Sequence[Path], chosen: Sequence[Path], rows: int) -> TableSample:
    tables: list[pa.Table] = []
    for file in chosen:
        try:
            with pq.ParquetFile(file) as opened:
                batches = list(itertools.islice(opened.iter_batches(rows), 1))
                table = pa.Table.from_batches(batches, opened.schema_arrow).slice(0, rows)
        except (OSError, pa.ArrowException):
            raise BadInput(f"{file}: is no Parquet file that can be read") from None
        tables.append(table.rename_columns([each.strip().lower() for each in table.column_names]))
    try:
        return TableSample(name, files, pa.concat_tables(tables, promote_options="permissive"))
    except pa.ArrowException:
        raise BadInput(f"{files[0]}: its columns are not of the types of {chosen[-1].name}") from None


def _type_name(kind: pa.DataType) -> str:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_temporal(kind):
        return "date"
    return "number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "other"


def _texts(column: pa.ChunkedArray) -> list[str]:
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_floating(column.type):  # a column of whole numbers with empty cells
        return ["" if one is None else f"{one:.15g}" for one in column.to_pylist()]
    try:
        return [one.strip() for one in pc.fill_null(pc.cast(column, pa.string()), "").to_pylist()]
    except (pa.ArrowException, UnicodeDecodeError):  # lists, or bytes that are no text
        return ["?"] * len(column)
