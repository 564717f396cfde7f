"""Crosswalks: tables that map the codes of one system to another, built-in or from a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

from claimscale.codes import icd
from claimscale.codes.systems import SEPARATOR, canonicalize
from claimscale.config.sources import CodeCrosswalk
from claimscale.errors import BadInput
from claimscale.sources.raw import Crosswalk


def load(settings: CodeCrosswalk) -> Crosswalk:
    """The crosswalk of the settings.

    Raises BadInput for a file that is missing, lacks the columns, or maps no code.
    """
    source, target = settings.source + SEPARATOR, settings.target + SEPARATOR
    if settings.file is None or settings.columns is None:
        pairs = icd.equivalents(settings.source, settings.target).items()
        return Crosswalk(settings.source, {source + code: target + other for code, other in pairs})
    place = f"source.crosswalks: {settings.file}"
    source_column, target_column = settings.columns
    targets: dict[str, str] = {}
    try:
        with Path(settings.file).open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, strict=True)
            missing = [name for name in settings.columns if name not in (rows.fieldnames or [])]
            if missing:
                raise BadInput(f"{place}: has no column {', '.join(missing)}")
            for row in rows:
                if row[source_column] and row[target_column]:
                    code = canonicalize(source + row[source_column])
                    other = canonicalize(target + row[target_column])
                    targets[code] = min(targets.get(code, other), other)
    except OSError as error:
        raise BadInput(f"{place}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise BadInput(f"{place}: is not CSV in UTF-8") from None
    if not targets:
        raise BadInput(f"{place}: maps no code")
    return Crosswalk(settings.source, targets)
