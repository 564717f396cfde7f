"""Partial reports are a courtesy of a study that runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claimscale import conclusion


def test_a_partial_report_that_fails_does_not_end_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> bool:
        raise ValueError("patient 00012345")

    monkeypatch.setattr(conclusion, "write_partial_report", fail)
    monkeypatch.setattr(conclusion, "PARTIAL_SECONDS", 0.0)
    workspace: Any = SimpleNamespace(run=tmp_path)
    conclusion.PartialReport(workspace, [])()
    (line,) = (tmp_path / "audit.jsonl").read_text("utf-8").splitlines()
    assert "ValueError" in line and "00012345" not in line
