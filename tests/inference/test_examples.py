"""The examples of the Python interface: every public method has one; those that need a study run on one."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from packaged_study import PackagedStudy

import claimscale
from claimscale import ClaimsClassifier, Run, Study

PUBLIC = [getattr(claimscale, name) for name in claimscale.__all__ if not name.startswith("__")]
TRAINS = "claimscale.runs.Study.run"
"""Its example is the demonstration."""


def methods(owner: type) -> Iterator[tuple[str, str]]:
    """Public methods and properties of a class that are defined in claimscale, with their docstrings."""
    for name, member in inspect.getmembers(owner):
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if function.__module__.startswith("claimscale.") and function.__doc__ != owner.__doc__:
            yield f"{function.__module__}.{function.__qualname__}", inspect.getdoc(function) or ""


METHODS = dict(sorted(item for owner in PUBLIC for item in methods(owner)))


def test_every_public_class_and_method_is_documented() -> None:
    assert len(METHODS) >= 17
    assert all(inspect.getdoc(owner) for owner in PUBLIC)
    assert [name for name, text in METHODS.items() if not text] == []


@pytest.mark.parametrize("name", METHODS)
def test_every_public_method_has_an_example(name: str) -> None:
    assert doctest.DocTestParser().get_examples(METHODS[name]), name


def needs_a_study(example: doctest.Example) -> bool:
    return bool(example.options.get(doctest.SKIP))


def test_examples_that_need_a_study_run(
    packaged_study: PackagedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(packaged_study.run)
    (tmp_path / "ckd-package").symlink_to(packaged_study.packages["encoder"])
    (tmp_path / "study.yaml").write_text(packaged_study.file.read_text("utf-8"), "utf-8")
    monkeypatch.chdir(tmp_path)
    run = Run.open(packaged_study.run)
    cell = next(cell for cell in run.cells if cell.startswith("finetune-"))
    test = run.predictions(cell).to_pandas().query("split == 'held_out'")
    space: dict[str, Any] = {
        "np": np,
        "Study": Study,
        "ClaimsClassifier": ClaimsClassifier,
        "ClaimsEmbedder": claimscale.ClaimsEmbedder,
        "ModelPackage": claimscale.ModelPackage,
        "run": run,
        "package": packaged_study.open("encoder"),
        "rows": test[["subject_id", "prediction_time"]],
        "outcome": test["boolean_value"].to_numpy(),
        "events": pq.read_table(packaged_study.run / "events" / "data"),
        "store": packaged_study.workspace.store,
    }
    space["model"] = ClaimsClassifier.from_pretrained("ckd-package", space["events"])
    done = 0
    for name, text in METHODS.items():
        for example in doctest.DocTestParser().get_examples(text):
            if needs_a_study(example) and name != TRAINS:
                source = example.source.replace('task="ckd"', 'task="analgesics"').replace(
                    '"ckd-package", task', '"new-package", task'
                )
                exec(compile(source, name, "single"), space)
                done += 1
    assert done >= 12
    assert len(space["vectors"]) == len(test) and len(space["states"]) == len(space["risks"]) == 10
    assert space["package"].folder.name == "new-package"
