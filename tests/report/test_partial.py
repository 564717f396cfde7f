"""Partial reports never end the study that writes them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claimscale.report import partial


def test_a_partial_report_that_fails_does_not_end_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> bool:
        raise ValueError("patient 00012345")

    monkeypatch.setattr(partial, "write_partial_report", fail)
    monkeypatch.setattr(partial, "INTERVAL_SECONDS", 0.0)
    workspace: Any = SimpleNamespace(run=tmp_path)
    partial.PartialReport(workspace, [])()
    (line,) = (tmp_path / "audit.jsonl").read_text("utf-8").splitlines()
    assert "ValueError" in line and "00012345" not in line
