"""Outputs of a tiny study are those that `golden.json` remembers, unless a version was raised."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from claimscale.config.study import Study
from claimscale.versions import VERSIONS

sys.path.insert(0, str(Path(__file__).parent))
import tiny_study

TOLERANCE = 1e-5
"""Weights round differently on other processors."""
REMEMBERED: dict[str, dict[str, Any]] = json.loads(tiny_study.GOLDEN.read_text("utf-8"))


def advice(name: str) -> str:
    return (
        f"the output of {name!r} has changed: raise VERSIONS[{name!r}] in src/claimscale/versions.py, so "
        "that earlier runs are recomputed; then write the golden file: python tests/golden/tiny_study.py"
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return tiny_study.run(tmp_path_factory.mktemp("tiny_study"))


def test_stages_write_what_they_wrote(study: Study) -> None:
    found = tiny_study.stage_digests(study)
    assert list(found) == list(REMEMBERED["stages"])
    for name, digest in found.items():  # in order: the first that differs is the one that changed
        assert digest == REMEMBERED["stages"][name], advice(name)


def test_cells_predict_what_they_predicted(study: Study) -> None:
    found = tiny_study.cell_numbers(study)
    assert {name.split()[0] for name in found} == {cell.kind for cell in tiny_study.cells_of(study)}
    for name, numbers in found.items():
        for key, values in REMEMBERED["cells"][name].items():
            assert numbers[key] == pytest.approx(values, abs=TOLERANCE), advice(name.split()[0])


def test_every_version_but_summary_and_report_is_covered() -> None:
    """Those have golden files of their own in tests/summary."""
    covered = set(REMEMBERED["stages"]) | {name.split()[0] for name in REMEMBERED["cells"]}
    assert set(VERSIONS) - covered == {"summary", "report"}


def test_a_changed_output_fails_with_the_entry_to_raise(study: Study, monkeypatch) -> None:
    changed = {"stages": dict.fromkeys(REMEMBERED["stages"], ""), "cells": REMEMBERED["cells"]}
    monkeypatch.setitem(globals(), "REMEMBERED", changed)
    with pytest.raises(AssertionError, match=r"raise VERSIONS\['events'\]"):
        test_stages_write_what_they_wrote(study)
