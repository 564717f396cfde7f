"""What makes stages and cells stale: raised versions, settings and inputs; never source code."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimscale import artifacts, pipeline
from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.experiments import fingerprints
from claimscale.experiments.cells import cells_of
from claimscale.progress import Silent
from claimscale.versions import VERSIONS

CELLS_THAT_FOLLOW = {
    "pretrain": {
        "pretrain",
        "phenome",
        "finetune",
        "lightgbm_embeddings",
        "lightgbm_counts_and_embeddings",
        "ensemble",
    },
    "finetune": {"finetune", "ensemble"},
    "lightgbm": {"lightgbm", "ensemble"},
    "recipe_pretrain": {"recipe_pretrain", "recipe"},
}
"""Kinds of cells that are stale when the version of a kind is raised; others make only their own stale."""
STAGES = [stage.name for stage in pipeline.STAGES]
KINDS = [name for name in VERSIONS if name not in STAGES]
NO_BASELINES = (
    *("pretrain", "sweep", "phenome", "phenome_lightgbm", "finetune"),
    *("recipe_pretrain", "recipe"),
)


@pytest.fixture
def study(write_study, tmp_path: Path) -> Study:
    """A study with every kind of cell, and a run directory in which every data stage is there."""
    settings = loading.load(
        write_study(
            runs_dir=str(tmp_path / "runs"),
            pretrain={"lr_sweep": [1e-3, 4e-3, 1.6e-2]},
            finetune={"seeds": [42], "labelled_patients": ["all"], "initialization": ["pretrained"]},
            phenome={},
            recipes=["behrt"],
            baselines=[kind for kind in KINDS if kind not in NO_BASELINES],
        )
    )
    for stage in pipeline.data_stages(settings):
        with artifacts.sealed_folder(settings.run_directory / stage.name, "inputs") as folder:
            if stage.name == "labels":
                (folder / "index").mkdir()
                for file in ("ckd.parquet", "index/ckd.parquet", "phenome.parquet"):
                    (folder / file).write_text("labels")
    return settings


def cell_fingerprints(study: Study) -> dict[str, str]:
    return {
        cell.kind: fingerprints.cell_fingerprint(study, study.run_directory, cell) for cell in cells_of(study)
    }


def stage_fingerprints(study: Study) -> dict[str, str]:
    """Of every stage but the cells, over unchanged cells."""
    run = study.run_directory
    found = {
        stage.name: fingerprints.stage_fingerprint(study, run, stage.name, stage.inputs)
        for stage in pipeline.STAGES
        if stage.name not in ("cells", "summary", "report")
    }
    found["summary"] = fingerprints.summary_fingerprint(study, {}, found["validity"], [])
    return found | {"report": fingerprints.report_fingerprint(study, found["summary"])}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_the_versions_are_those_of_the_stages_and_the_kinds(study: Study) -> None:
    assert {cell.kind for cell in cells_of(study)} == set(KINDS)
    assert set(STAGES) - {"cells"} == set(VERSIONS) - set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kinds_version_makes_it_and_its_dependents_stale(study: Study, monkeypatch, kind: str) -> None:
    before = cell_fingerprints(study), stage_fingerprints(study)
    monkeypatch.setitem(VERSIONS, kind, VERSIONS[kind] + 1)
    assert changed(before[0], cell_fingerprints(study)) == CELLS_THAT_FOLLOW.get(kind, {kind})
    assert changed(before[1], stage_fingerprints(study)) == set()


@pytest.mark.parametrize("name", [name for name in STAGES if name != "cells"])
def test_a_stages_version_makes_that_stage_stale(study: Study, monkeypatch, name: str) -> None:
    """Stages after it are stale once its output differs; only the last three form one chain of digests."""
    before = cell_fingerprints(study), stage_fingerprints(study)
    monkeypatch.setitem(VERSIONS, name, VERSIONS[name] + 1)
    after = {"validity": {"summary", "report"}, "summary": {"report"}}
    assert changed(before[1], stage_fingerprints(study)) == {name} | after.get(name, set())
    assert changed(before[0], cell_fingerprints(study)) == set()


@pytest.mark.parametrize("stage", pipeline.STAGES[:5], ids=lambda stage: stage.name)
def test_a_changed_output_makes_its_readers_stale(study: Study, stage: pipeline.Stage) -> None:
    before = cell_fingerprints(study), stage_fingerprints(study)
    with artifacts.sealed_folder(study.run_directory / stage.name, "inputs") as folder:
        (folder / "index").mkdir()
        for file in ("ckd.parquet", "index/ckd.parquet", "phenome.parquet"):
            (folder / file).write_text("other output")
    readers = {reader.name for reader in pipeline.STAGES if stage.name in reader.inputs}
    if "validity" in readers:
        readers |= {"summary", "report"}
    assert changed(before[1], stage_fingerprints(study)) == readers - {"cells"} - (
        {"summary", "report"} if stage.name == "oracle" else set()
    )
    stale = changed(before[0], cell_fingerprints(study))
    assert bool(stale) == ("cells" in readers)


def test_data_stages_of_other_inputs_are_not_current(study: Study) -> None:
    run = pipeline.StudyRun(study, Silent())
    assert not any(stage.is_current(run) for stage in pipeline.data_stages(study))
    stage = pipeline.STAGES[0]
    inputs = fingerprints.stage_fingerprint(study, study.run_directory, stage.name, stage.inputs)
    with artifacts.sealed_folder(study.run_directory / stage.name, inputs):
        pass
    assert stage.is_current(run)


def test_fingerprints_read_no_source_code(study: Study, monkeypatch) -> None:
    """A docstring, a refactoring or an upgrade that changes no output makes nothing stale."""
    package = Path(artifacts.__file__).parent
    read_text, read_bytes, opened = Path.read_text, Path.read_bytes, []

    def note(read):
        def noted(self: Path, *arguments: object, **named: object) -> object:
            opened.append(self)
            return read(self, *arguments, **named)

        return noted

    monkeypatch.setattr(Path, "read_text", note(read_text))
    monkeypatch.setattr(Path, "read_bytes", note(read_bytes))
    cell_fingerprints(study)
    stage_fingerprints(study)
    assert opened and not [file for file in opened if file.suffix == ".py" and file.is_relative_to(package)]
