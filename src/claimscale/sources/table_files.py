"""Files of a source: its folder, and the CSV or Parquet files of a table."""

from __future__ import annotations

from pathlib import Path

import ibis.expr.types as ir

from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.csv_checks import checked

ENDINGS = (".parquet", ".csv")


def folder_of(path: str) -> Path:
    """The folder of a source. Raises BadInput if there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise BadInput(f"source.path: {folder} is not a folder")
    return folder


def files_of_table(folder: Path, table: str) -> list[Path]:
    """`<table>.csv|parquet`, or all such files in the folder `<table>`; case is ignored.

    Raises BadInput for a table that exists in both formats.
    """
    files = [
        file
        for place in sorted(folder.iterdir())
        if (place.name if place.is_dir() else place.stem).lower() == table.lower()
        for file in (sorted(place.iterdir()) if place.is_dir() else [place])
        if file.suffix.lower() in ENDINGS
    ]
    if len({file.suffix.lower() for file in files}) > 1:
        raise BadInput(f"source.path: {folder} holds table {table} as CSV and as Parquet")
    return files


def no_table(folder: Path, table: str) -> BadInput:
    return BadInput(f"source.path: {folder} holds no table {table} (.csv or .parquet)")


def open_table(files: list[Path], engine: Engine, scratch: Path, encoding: str = "utf-8") -> ir.Table:
    """The rows of the files; `scratch` is for CSV files that are recoded."""
    if files[0].suffix.lower() == ".csv":
        return engine.read_csv(checked(files, encoding, scratch))
    return engine.read_parquet(files)
