"""The notebook runs from its first cell to its last on a small study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaged_study import PackagedStudy

NOTEBOOK = Path(__file__).parents[2] / "docs" / "risk_scores.ipynb"


def test_the_notebook_runs(
    packaged_study: PackagedStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    parameters = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    assert len(parameters) == 1 and cells[0] is parameters[0] and all(cell["outputs"] for cell in cells[1:])
    space = {"RUN": str(packaged_study.run), "TASK": "analgesics", "PACKAGE": str(tmp_path / "package")}
    space["OTHER_OUTCOME"] = "ICD10//J0"  # colds: heart failure is too rare in so few patients
    for cell in cells[1:]:
        exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), space)
    said = capsys.readouterr().out
    assert "True that all risks are those of the study" in said
    assert "with the outcome, AUROC" in said and "diabetes and hypertension: 0." in said
