"""Fixtures every test may use, and the order of the suite."""

from __future__ import annotations

import gc
import os
from pathlib import Path

# Tests run side by side, one to a core: threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait must not spin: beside busy processes LightGBM with two took a minute instead of a second.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import yaml
from hypothesis import settings

# Tests say nothing about time: a busy machine is no fault.
settings.register_profile(
    "untimed", deadline=None, max_examples=int(os.environ.get("CLAIMSCALE_EXAMPLES", "30"))
)
settings.load_profile("untimed")

# Expressions of tables are large graphs without cycles: looking for cycles took a seventh of the time.
gc.set_threshold(200_000, 20, 100)

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


LONG = (
    # The first two compile different code, which is then ready for all others.
    *("test_end_to_end.py", "training/test_kills.py", "training/test_cooldowns.py"),
    *("test_small_subsets.py", "inference", "test_engine_spark.py", "test_databases.py", "faults"),
    *("training/test_distributed.py", "simulator", "golden"),
    *("summary/test_golden.py", "validity/test_run.py", "report/test_browser.py"),
)
"""Files and folders, the longest first. They run first, each file on one worker (`--dist loadfile`), so that
no worker waits for another at the end, and no finished study is made twice."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """The place of the part that a test belongs to; after all of them if it belongs to none."""
    parts, here = [item.path, *item.path.parents], Path(__file__).parent
    return next((number for number, name in enumerate(LONG) if here / name in parts), len(LONG))
