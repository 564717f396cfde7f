"""Golden outputs of stages and cells, each stored with the version that made it.

An output may change only together with its number in `versions.py`. `CLAIMSCALE_GOLDEN=write pytest ...`
stores new outputs, and refuses one that changed without a new version.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from claimscale.versions import VERSIONS

TOLERANCE = 1e-4
"""Relative: processors round sums in different ways."""


def check_golden(
    file: Path, kind: str, name: str, output: Mapping[str, Any], versions: Mapping[str, int] = VERSIONS
) -> None:
    """Fail unless `output` is the one stored for this kind, name and version; store it in write mode."""
    stored = json.loads(file.read_text()) if file.exists() else {}
    found = json.loads(json.dumps(output))
    entry = stored.get(kind, {}).get(name)
    same = entry is not None and _difference(entry["output"], found) is None
    if os.environ.get("CLAIMSCALE_GOLDEN") == "write":
        if entry is not None and not same and entry["version"] == versions[kind]:
            pytest.fail(f"the output of {kind} changed: raise its number in versions.py before storing it")
        if not same or entry["version"] != versions[kind]:
            stored.setdefault(kind, {})[name] = {"version": versions[kind], "output": found}
            file.write_text(json.dumps(stored, indent=1) + "\n")
        return
    if entry is None or entry["version"] != versions[kind]:
        pytest.fail(f"no golden output of {kind} {name} at version {versions[kind]}: CLAIMSCALE_GOLDEN=write")
    if (difference := _difference(entry["output"], found)) is not None:
        pytest.fail(f"the output of {kind} changed ({difference}): raise its number in versions.py")


def _difference(expected: Any, found: Any, place: str = "") -> str | None:
    """Where two JSON values differ by more than the tolerance, None if nowhere."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"{place}: keys {sorted(expected.keys() ^ found.keys())}"
        pairs = [(f"{place}.{key}", value, found[key]) for key, value in expected.items()]
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{place}: {len(found)} values, not {len(expected)}"
        pairs = [(f"{place}[{n}]", *both) for n, both in enumerate(zip(expected, found, strict=True))]
    elif isinstance(expected, float) and isinstance(found, float):
        return (
            None if found == pytest.approx(expected, rel=TOLERANCE) else f"{place}: {found}, not {expected}"
        )
    else:
        return None if expected == found else f"{place}: {found!r}, not {expected!r}"
    return next((d for place, one, other in pairs if (d := _difference(one, other, place))), None)
