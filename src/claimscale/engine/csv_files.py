"""CSV files that an engine reads: where their first broken row is, without quoting it."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

DUCKDB_LINE = re.compile(r"CSV Error on Line: (\d+)")
DUCKDB_FILE = re.compile(r"^  file = (.+)$|Error when sniffing file \"(.+)\"", re.MULTILINE)
DUCKDB_CELLS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")


def open_text(file: Path, encoding: str = "utf-8-sig") -> IO[str]:
    """A CSV file, gzipped if its name ends in `.gz`, as text with its line ends."""
    if file.suffix.lower() == ".gz":
        return gzip.open(file, "rt", encoding=encoding, newline="")
    return file.open(encoding=encoding, newline="")


@dataclass
class CsvFiles:
    """The files that were opened: delimiter, whether cells may be quoted, and the user's name of the file."""

    _opened: dict[str, tuple[str, bool, Path]] = field(default_factory=dict)

    def add(
        self, files: Sequence[str], delimiter: str, named: Sequence[Path] | None, quoted: bool = True
    ) -> None:
        for file, name in zip(files, named or map(Path, files), strict=True):
            self._opened[file] = (delimiter, quoted, name)

    def cause(self, message: str) -> str | None:
        """File, line and cause of an error of DuckDB, as one line; None if it is not about these files."""
        match, line = DUCKDB_FILE.search(message), DUCKDB_LINE.search(message)
        named = (match[1] or match[2]) if match else None
        if named not in self._opened:
            return None
        delimiter, quoted, name = self._opened[named]
        cells = DUCKDB_CELLS.search(message)
        if line and cells:
            return f"{name}, line {line[1]}: {_other_number(int(cells[1]), int(cells[2]))}"
        if line and "unterminated quote" in message:
            return f"{name}, line {line[1]}: an unclosed quote"
        found = first_broken_row(Path(named), delimiter, quoted)
        return f"{name}, {found}" if found else None

    def first_cause(self) -> str | None:
        """File, line and cause of the first broken row of all files, for an engine that names none."""
        for file, (delimiter, quoted, name) in self._opened.items():
            if found := first_broken_row(Path(file), delimiter, quoted):
                return f"{name}, {found}"
        return None


def first_broken_row(file: Path, delimiter: str, quoted: bool = True) -> str | None:
    """The line and the cause of the first row that does not fit the header; None if all do."""
    begin = 1
    try:
        with open_text(file) as stream:
            quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
            rows = csv.reader(stream, delimiter=delimiter, strict=True, quoting=quoting)
            width = len(next(rows, []))
            begin = rows.line_num + 1
            for row in rows:
                if row and len(row) != width:
                    return f"line {begin}: {_other_number(width, len(row))}"
                begin = rows.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            longest = f"{csv.field_size_limit():,} characters"
            return f"line {begin}: an unclosed quote, or a cell of more than {longest}"
        return f"line {begin}: an unclosed quote, or text after a closing one"
    except (OSError, UnicodeDecodeError):
        return None
    return None


def _other_number(expected: int, found: int) -> str:
    if found > expected:  # DuckDB counts one more at most
        return f"more than {expected} cells"
    return f"{found} {'cell' if found == 1 else 'cells'} instead of {expected}"
