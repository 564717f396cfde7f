"""A package gives what its study gave, and is refused when it is not what it says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from claimscale import artifacts, cli
from claimscale.errors import BadInput
from claimscale.experiments.datasets import read_risks
from claimscale.inference.package import ModelPackage
from claimscale.inference.packaging import Choice, open_run, write_package
from claimscale.progress import Silent

CELLS = {
    "encoder": "finetune-analgesics-80k-pretrained-nall-s1",
    "lightgbm": "lightgbm-analgesics-nall-s1",
    "logistic": "logistic-analgesics-nall-s1",
    "outcome_history": "outcome_history-analgesics-nall-s1",
    "ensemble": "ensemble-analgesics-80k-nall-s1",
}


def sealed(folder: Path) -> None:
    """Make the checksums those of the files, as whoever alters a package would."""
    artifacts.seal(folder, "anything")
    (folder / artifacts.DONE).unlink()


@pytest.fixture
def copy(packages: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages / "encoder", tmp_path / "copy"))


@pytest.mark.parametrize("model", CELLS)
def test_a_package_gives_the_predictions_of_its_study_bit_for_bit(
    packages: Path, run: Path, model: str
) -> None:
    package, workspace = ModelPackage.open(packages / model), open_run(run)
    samples = {name: one for name, one in workspace.samples("analgesics").items() if name != "train"}
    risks = read_risks(run / "cells" / CELLS[model], samples)
    for name, sample in samples.items():
        again = package.risks(workspace.store, sample.rows, sample.index_days)
        assert np.array_equal(again, risks[name])
        few = sample.take(np.arange(0, len(sample.rows), 7))
        one_by_one = [
            package.risks(workspace.store, few.rows[[place]], few.index_days[[place]])[0]
            for place in range(min(len(few.rows), 10))
        ]
        assert np.array_equal(one_by_one, risks[name][::7][:10]), "whoever is scored with them"


def test_the_card_and_the_evidence_name_the_question_and_the_results(packages: Path) -> None:
    card = (packages / "encoder" / "README.md").read_text("utf-8")
    assert card.startswith("---\nlicense: other\n") and "ATC M01" in card and "simulated patients" in card
    evidence = artifacts.read_json(packages / "encoder" / "evidence.json")
    assert {one["split"] for one in evidence["results"]} == {"held_out"}
    assert "| test patients |" in card and "No text" not in card


def test_what_cannot_be_packaged_is_bad_input(run: Path, packages: Path, tmp_path: Path) -> None:
    for choice, match in (
        (Choice("nothing"), "the study has analgesics"),
        (Choice("analgesics", size="11M"), "the study has 80k"),
        (Choice("analgesics", seeds=(7,)), "no cell finetune-analgesics-80k-pretrained-nall-s7"),
    ):
        with pytest.raises(BadInput, match=match):
            write_package(run, choice, tmp_path / "out", Silent())
    with pytest.raises(BadInput, match="is there already"):
        write_package(run, Choice("analgesics"), packages / "encoder", Silent())
    with pytest.raises(BadInput, match="is not a run directory"):
        write_package(tmp_path, Choice("analgesics"), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def damage(folder: Path, fault: str) -> None:
    """One way in which a package can be hostile or broken."""
    weights = folder / "encoder-s1" / "model.safetensors"
    config = json.loads((folder / "config.json").read_text())
    if fault == "bits":
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        return
    if fault == "missing":
        (folder / "vocabulary.parquet").unlink()
        return
    if fault == "manifest":
        (folder / "manifest.json").write_text("[" * 100_000)
        return
    if fault == "traversal":
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["../../etc/passwd"] = {"bytes": 1, "sha256": "0"}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return
    if fault == "link":
        (folder / "evidence.json").unlink()
        (folder / "evidence.json").symlink_to("/etc/passwd")
        return
    if fault == "pipe":
        os.mkfifo(folder / "pipe.json")
        return
    if fault == "extra":
        (folder / "more.json").write_text("{}")
        return
    if fault == "header":
        weights.write_bytes((1 << 60).to_bytes(8, "little") + weights.read_bytes()[8:])
    if fault == "pickle":
        (folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    if fault == "shapes":
        tensors = load_file(weights)
        tensors["weight"] = tensors["weight"][:-1].copy()
        save_file(tensors, weights)
    if fault == "names":
        save_file({**load_file(weights), "more": np.zeros(1, np.float32)}, weights)
    if fault == "width":
        config["shape"]["width"] = 1 << 30
    if fault == "member":
        config["members"][0]["folder"] = "../encoder-s1"
    if fault == "format":
        config["format"] = "claimscale-package-9"
    if fault == "vocabulary":
        config["vocabulary_size"] += 1
        config["shape"]["vocabulary"] += 1
    if fault == "bomb":
        (folder / "calibration.json").write_text("[" * 200_000 + "]" * 200_000)
    if fault == "large":
        (folder / "reference.json").write_text('{"patients": 1' + " " * (17 << 20) + "}")
    (folder / "config.json").write_text(json.dumps(config))
    sealed(folder)


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ("bits", "is damaged"),
        ("missing", "vocabulary.parquet: is missing"),
        ("manifest", "manifest.json: cannot be read"),
        ("traversal", "cannot be a file of a model package"),
        ("link", "is a link or a special file"),
        ("pipe", "is a link or a special file"),
        ("extra", "does not belong"),
        ("header", "has no header of a safetensors file"),
        ("pickle", "cannot be a file of a model package"),
        ("shapes", r"weight is \(191,\), not \(192,\)"),
        ("names", "has an unknown 'more'"),
        ("width", "shape.width"),
        ("member", "members.0.folder"),
        ("format", "format"),
        ("vocabulary", "tokens, not"),
        ("bomb", "calibration.json: cannot be read"),
        ("large", "is larger than 16 MiB"),
    ],
)
def test_a_hostile_or_broken_package_is_refused_in_one_line(
    copy: Path, fault: str, match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy, fault)
    with pytest.raises(BadInput, match=match) as raised:
        ModelPackage.open(copy)
    assert "\n" not in str(raised.value)
    out = tmp_path / "scores.parquet"
    assert cli.call(["predict", str(copy), str(tmp_path), str(out), "--on", "2020-10-01"]) == 2
    assert not out.exists() and capsys.readouterr().err.count("\n") == 1


def test_a_package_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such model package"):
        ModelPackage.open(tmp_path / "none")
    with pytest.raises(BadInput, match=r"manifest\.json is missing"):
        ModelPackage.open(tmp_path)
