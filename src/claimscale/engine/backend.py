"""The interface of an engine; the methods of `Engine` document it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import ibis.expr.types as ir
import pyarrow as pa


class Backend(Protocol):
    def read_parquet(self, files: list[str]) -> ir.Table: ...

    def read_csv(self, files: list[str]) -> ir.Table: ...

    def write_parquet(self, table: ir.Table, file: Path) -> None: ...

    def write_partitions(self, table: ir.Table, folder: Path, by: str, values: int) -> None: ...

    def to_arrow(self, table: ir.Table) -> pa.Table: ...

    def close(self) -> None: ...
