"""Pretraining that starts from a package: on other patients it begins where the package ended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from packaged_study import STUDY, PackagedStudy

from claimscale import artifacts, cli
from claimscale.config import loading
from claimscale.experiments.workspace import Workspace


@pytest.fixture(scope="module")
def elsewhere(packaged_study: PackagedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of other patients, with a copy of the package to start from."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(packaged_study.packages["pretrained"], folder / "start")
    file = folder / "study.yaml"
    file.write_text(f"{STUDY}seed: 7\nruns_dir: {folder / 'runs'}\n", "utf-8")
    return file


def settings(file: Path, *more: str) -> list[str]:
    chosen = ["pretrain.epochs=1", "pretrain.learning_rate=0.001", *more]
    return [part for one in chosen for part in ("--set", one)]


def loss(file: Path, *more: str) -> float:
    assert cli.call(["pretrain", str(file), *settings(file, *more)]) == 0
    cell = file.parent / "runs" / "packaged" / "cells" / "pretrain-80k-s1"
    return json.loads((cell / artifacts.CELL).read_text("utf-8"))["result"]["validation_loss"]


def test_a_start_is_better_than_chance_and_part_of_what_a_cell_is_made_from(elsewhere: Path) -> None:
    start = f"pretrain.start={elsewhere.parent / 'start'}"
    from_chance, from_package = loss(elsewhere), loss(elsewhere, start)
    assert from_package < from_chance - 0.2, "a package saves most of a short pretraining"
    study = loading.load(elsewhere, [*settings(elsewhere, start)[1::2]])
    workspace = Workspace(study, study.run_directory)
    (cell,) = [cell for cell in workspace.cells if cell.kind == "pretrain"]
    assert workspace.is_done(cell)
    manifest = elsewhere.parent / "start" / artifacts.MANIFEST
    kept = manifest.read_bytes()
    manifest.write_bytes(kept + b" ")
    try:
        assert not Workspace(study, study.run_directory).is_done(cell), "another package is another start"
    finally:
        manifest.write_bytes(kept)


def test_what_cannot_be_a_start_is_bad_input(
    packaged_study: PackagedStudy, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = f"pretrain.start={elsewhere.parent / 'start'}"
    for more, message in (
        ([start, "sizes=[100k]"], "sizes: must be [80k]"),
        ([start, "tokens.deduplicate=year"], "tokens.deduplicate: must be"),
        ([f"pretrain.start={elsewhere.parent}"], "is not a model package"),
        ([f"pretrain.start={packaged_study.packages['lightgbm']}"], "holds no encoder"),
    ):
        assert cli.call(["pretrain", str(elsewhere), *settings(elsewhere, *more)]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
