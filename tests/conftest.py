"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

# Tests run side by side, one to a core: threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import yaml
from hypothesis import settings

# Tests say nothing about time: a busy machine is no fault.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

MINIMAL = {
    "name": "tiny",
    "source": {"kind": "simulated", "patients": 1500, "hospitals": 3},
    "cohort": {"landmark": "2020-10-01"},
    "sizes": ["80k"],
    "tasks": ["ckd"],
}


@pytest.fixture
def write_study(tmp_path: Path):
    """Write a study file: a minimal valid one, with top-level settings replaced."""

    def write(text: str | None = None, **replaced: object) -> Path:
        file = tmp_path / "study.yaml"
        finetune = replaced.get("finetune")
        if isinstance(finetune, dict) and finetune.get("labelled_patients", ["all"]) != ["all"]:
            replaced = {"labels": "scarce", **replaced}
        content = yaml.safe_dump({**MINIMAL, **replaced}).replace("'2020-10-01'", "2020-10-01")
        file.write_text(text if text is not None else content, "utf-8")
        return file

    return write
