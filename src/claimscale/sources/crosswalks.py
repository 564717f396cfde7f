"""Crosswalks, ready or of the user's own: codes of one system become codes of another."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from claimscale.codes import icd
from claimscale.codes.systems import SEPARATOR, respell
from claimscale.config.sources import CodeCrosswalk
from claimscale.errors import BadInput
from claimscale.sources.raw import Crosswalk, RawEvents


def applied(raw: RawEvents, maps: Sequence[CodeCrosswalk]) -> RawEvents:
    """The events with the crosswalks that the gate applies to their codes, one after the other.

    Raises BadInput for a file that is missing, has no such columns, or maps nothing.
    """
    return dataclasses.replace(raw, crosswalks=tuple(Crosswalk(each.source, read(each)) for each in maps))


def read(code_map: CodeCrosswalk) -> dict[str, str]:
    """Whole code to whole code, in their one spelling."""
    if code_map.file is None or code_map.columns is None:
        pairs = icd.equivalents(code_map.source, code_map.target).items()
        return {
            code_map.source + SEPARATOR + code: code_map.target + SEPARATOR + target for code, target in pairs
        }
    place = f"source.crosswalks: {code_map.file}"
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
                    code = respell(code_map.source + SEPARATOR + row[of])
                    target = respell(code_map.target + SEPARATOR + row[to])
                    targets[code] = min(targets.get(code, target), target)
    except OSError as error:
        raise BadInput(f"{place}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise BadInput(f"{place}: is not CSV in UTF-8") from None
    if not targets:
        raise BadInput(f"{place}: maps no code")
    return targets
