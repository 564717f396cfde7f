"""Files of a source: its folder, and the CSV or Parquet files of a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ibis.expr.types as ir

from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.csv_checks import checked, has_quoted_header

FORMATS = {".parquet": "Parquet", ".csv": "CSV", ".csv.gz": "CSV", ".tsv": "CSV", ".tsv.gz": "CSV"}


def folder_of(path: str, setting: str = "source.path") -> Path:
    """The folder of a source. Raises BadInput if there is none."""
    folder = Path(path)
    if not folder.is_dir():
        place = "" if folder.is_absolute() else f" (looked for in {Path.cwd()})"
        raise BadInput(f"{setting}: {folder} is not a folder{place}")
    return folder


def files_of_table(folder: Path, table: str, setting: str = "source.path") -> list[Path]:
    """The file of a table, named after it (`drugs.csv`), or all files in the folder of that name; case is
    ignored.

    A folder may have a file ending (`drugs.parquet/`) and further folders. Raises BadInput for a table that
    exists twice, or whose folder holds another kind of file.
    """
    places = [place for place in sorted(folder.iterdir()) if _is_table(place, table.lower())]
    files = [file for place in places for file in (parts_of(place) if place.is_dir() else [place])]
    if len({FORMATS[ending(file.name)] for file in files}) > 1:
        raise BadInput(f"{setting}: {folder} holds table {table} as CSV and as Parquet")
    if len(places) > 1 and files:
        names = " and ".join(place.name for place in places)
        raise BadInput(f"{setting}: {folder} holds table {table} twice: {names}")
    return files


def _is_table(place: Path, table: str) -> bool:
    return stem_of(place.name).lower() == table and (place.is_dir() or ending(place.name) != "")


def stem_of(name: str) -> str:
    """The name of the table in a file or folder name."""
    return name[: len(name) - len(ending(name))]


def ending(name: str) -> str:
    """The longest ending of a known format, or the empty text."""
    return max((one for one in FORMATS if name.lower().endswith(one)), key=len, default="")


def parts_of(folder: Path) -> Iterator[Path]:
    """The files of a table's folder. Names that begin with `_` or `.` are notes of the writer."""
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if file.is_dir() or any(part.startswith(("_", ".")) for part in parts):
            continue
        if not ending(file.name):
            raise BadInput(f"{file}: is none of {', '.join(FORMATS)}")
        yield file


def no_table(folder: Path, table: str, setting: str = "source.path") -> BadInput:
    return BadInput(f"{setting}: {folder} holds no table {table} (.csv or .parquet)")


def open_table(
    files: list[Path], engine: Engine, scratch: Path, encoding: str = "utf-8", *, bare_quotes: bool = False
) -> ir.Table:
    """The rows of the files, column names in lower case and without blanks around them.

    `scratch` is for CSV files that are recoded. `bare_quotes`: cells of a file with tabs are not quoted,
    unless its header is, so a quote is a character as any other. Raises BadInput for a file that cannot be
    read, or two columns whose names differ in case only.
    """
    if FORMATS[ending(files[0].name)] == "CSV":
        csv = checked(files, encoding, scratch)
        quoted = not bare_quotes or csv.delimiter != "\t" or any(map(has_quoted_header, csv.files))
        table = engine.read_csv(*csv, quoted=quoted)
    else:
        table = engine.read_parquet(files)
    return lower_case(table, files[0])


def lower_case(table: ir.Table, file: Path) -> ir.Table:
    """The table with column names in lower case. Raises BadInput if two become one."""
    names: dict[str, str] = {}
    for name in table.columns:
        if name.strip().lower() in names:
            raise BadInput(f"{file}: column {name!r} is repeated")
        names[name.strip().lower()] = name
    return table.rename({new: old for new, old in names.items() if new != old})


def check_types(table: ir.Table, file: Path) -> None:
    """Raises BadInput for a column that is no text, number, date or time."""
    for name, kind in table.schema().items():
        known = (kind.is_string(), kind.is_numeric(), kind.is_boolean(), kind.is_temporal(), kind.is_null())
        if not any((*known, kind.is_uuid())) or kind.is_interval() or kind.is_time():
            shown = "values of an unknown type" if kind.is_unknown() else f"values of type {kind}"
            raise BadInput(f"{file}: column {name} holds {shown}, not text, numbers or dates")
