"""Crosswalks, ready or of the user's own: codes of one system become codes of another."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale import icd
from claimscale.codes import SEPARATOR, respell
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.raw import RawEvents
from claimscale.study import CodeMap


def applied(raw: RawEvents, maps: Sequence[CodeMap], engine: Engine, scratch: Path) -> RawEvents:
    """The events with their codes mapped, one map after the other. Codes that a map lacks stay as they are.

    Raises BadInput for a file that is missing, has no such columns, or maps nothing.
    """
    table = raw.table
    for place, each in enumerate(maps):
        targets = read(each)
        file = scratch / f"map_{place}.parquet"
        columns = {"from_code": list(targets), "to_code": list(targets.values())}
        pq.write_table(pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns])), file)
        joined = table.left_join(engine.read_parquet(file), [("code", "from_code")])
        mapped = joined.mutate(code=ibis.coalesce(_.to_code, _.code))
        table = mapped.drop("from_code", "to_code")
    return dataclasses.replace(raw, table=table)


def read(code_map: CodeMap) -> dict[str, str]:
    """Whole code to whole code, in their one spelling."""
    if code_map.file is None or code_map.columns is None:
        pairs = icd.equivalents(code_map.of, code_map.to).items()
        return {code_map.of + SEPARATOR + code: code_map.to + SEPARATOR + target for code, target in pairs}
    place = f"source.maps: {code_map.file}"
    of, to = code_map.columns
    targets: dict[str, str] = {}
    try:
        with Path(code_map.file).open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, strict=True)
            missing = [name for name in (of, to) if name not in (rows.fieldnames or [])]
            if missing:
                raise BadInput(f"{place}: has no column {', '.join(missing)}")
            for row in rows:
                if row[of] and row[to]:
                    code = respell(code_map.of + SEPARATOR + row[of])
                    target = respell(code_map.to + SEPARATOR + row[to])
                    targets[code] = min(targets.get(code, target), target)
    except OSError as error:
        raise BadInput(f"{place}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise BadInput(f"{place}: is not CSV in UTF-8") from None
    if not targets:
        raise BadInput(f"{place}: maps no code")
    return targets
