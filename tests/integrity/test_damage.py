"""Damages to every kind of file of a finished run: the study notices each, and makes the file again.

A few of each kind in `make test`, 200 in `make test-faults`.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from damages import DAMAGES, restore, swap
from packaged_study import PackagedStudy

from claimscale import artifacts, cli, damage as damage_of_run, pipeline
from claimscale.config.study import Study
from claimscale.progress import Silent
from claimscale.stages import STAGE
from claimscale.verification import verify

PER_KIND = int(os.environ.get("CLAIMSCALE_DAMAGES", str(len(DAMAGES))))
CELL = "finetune-analgesics-80k-pretrained-nall-s1"
BASELINE = "cells/logistic-analgesics-nall-s1"
FEW = {"cohort/patients.parquet": "flip_a_bit", f"{BASELINE}/predictions.parquet": "change_a_digit"}
REMADE = [FEW]
if len(DAMAGES) < PER_KIND:
    stages = ("events/quality.json", "tokens/token.npy", "labels/labels.json", "oracle/analgesics.parquet")
    cells = ("pretrain-80k-s1/model.safetensors", f"{CELL}/model.safetensors", f"{CELL}/cell.json")
    REMADE += [{name: "flip_a_bit"} for name in (*stages, *(f"cells/{name}" for name in cells))]
KINDS = {
    "events": "events/data/*.parquet",
    "quality": "events/quality.json",
    "cohort": "cohort/patients.parquet",
    "tokens": "tokens/token.npy",
    "vocabulary": "tokens/vocabulary.parquet",
    "labels": "labels/*.parquet",
    "label counts": "labels/labels.json",
    "oracle": "oracle/*.parquet",
    "pretrained weights": "cells/pretrain-*/model.safetensors",
    "losses": "cells/pretrain-*/metrics.jsonl",
    "fine-tuned weights": "cells/finetune-*/model.safetensors",
    "predictions": "cells/*/predictions.parquet",
    "record of a cell": "cells/*/cell.json",
    "manifest": "*/manifest.json",
    "manifest of a cell": "cells/*/manifest.json",
    "validity": "validity.json",
    "results": "results.parquet",
    "summary": "summary.json",
    "page": "report.html",
    "figure": "figures/*.svg",
    "table": "tables/*.csv",
    "report manifest": "report_manifest.json",
}


class Copy:
    """A copy of the finished run, and what a study finds stale in it."""

    def __init__(self, packaged: PackagedStudy, folder: Path) -> None:
        self.original, self.run = packaged.run, folder / "runs" / "packaged"
        shutil.copytree(packaged.run, self.run)
        self.study: Study = packaged.study.model_copy(update={"runs_dir": str(folder / "runs")})
        # The original's own name of this setting is part of no output but the fingerprint of the summary.
        pipeline.run_study(self.study, Silent())
        self.original = folder / "original"
        shutil.copytree(self.run, self.original)

    def stale(self) -> list[str]:
        """The stages and cells that a study would make again now."""
        run = pipeline.StudyRun(self.study, Silent())
        stages = [stage.name for stage in pipeline.data_stages(self.study) if not stage.is_current(run)]
        if stages:
            return stages
        cells = [cell.id for cell in run.workspace.cells if not run.workspace.is_done(cell)]
        return cells or [
            name for name in ("validity", "summary", "report") if not STAGE[name].is_current(run)
        ]


@pytest.fixture(scope="module")
def copy(packaged_study: PackagedStudy, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(packaged_study, tmp_path_factory.mktemp("damaged"))


def owner(name: str) -> set[str]:
    """What must be made again for a damaged file."""
    first, *rest = name.split("/")
    if first == "cells":
        return {rest[0]}
    if rest and first not in ("figures", "tables"):
        return {first}
    return {"validity.json": {"validity"}, "report_manifest.json": {"summary", "report"}}.get(
        name, {"summary"} if name in ("summary.json", "results.parquet") else {"report"}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_study_notices_every_damage(kind: str, copy: Copy) -> None:
    files = sorted(copy.run.glob(KINDS[kind]))
    assert files and copy.stale() == []
    silent, unnamed = [], []
    for number in range(PER_KIND):
        draw = random.Random(f"{kind} {number}")
        damage = list(DAMAGES)[number % len(DAMAGES)]
        file = draw.choice(files)
        name = file.relative_to(copy.run).as_posix()
        DAMAGES[damage](file, draw)
        if not owner(name) <= set(copy.stale()):
            silent.append((damage, name))
        # Without its manifest a folder is unfinished, and without its record a report is not made yet.
        whole_is_gone = damage == "delete" and name in ("validity.json", "report_manifest.json")
        if not whole_is_gone and not any(name in problem for problem in verify(copy.run).problems):
            unnamed.append((damage, name))
        restore(file, copy.original / name)
    assert copy.stale() == []
    assert silent == [] and unnamed == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"cells/{CELL}", "cells/logistic-analgesics-nall-s1"),
        ("cells/logistic-analgesics-nall-s1", "cells/outcome_history-analgesics-nall-s1"),
        ("cohort", "labels"),
        (f"cells/{CELL}/predictions.parquet", "cells/logistic-analgesics-nall-s1/predictions.parquet"),
        ("tokens/subjects.npy", "tokens/sex.npy"),
        ("cohort/manifest.json", "labels/manifest.json"),
        (f"cells/{CELL}/manifest.json", "cells/pretrain-80k-s1/manifest.json"),
        ("summary.json", "validity.json"),
    ],
)
def test_two_that_are_swapped_do_not_pass(one: str, other: str, copy: Copy) -> None:
    swap(copy.run / one, copy.run / other)
    try:
        stale, problems = copy.stale(), verify(copy.run).problems
    finally:
        swap(copy.run / one, copy.run / other)
    assert stale and len(problems) >= 2
    assert copy.stale() == []


def test_a_file_that_does_not_belong_is_noticed(copy: Copy) -> None:
    """A shard more would be read with the others."""
    extra = copy.run / "events" / "data" / "more.parquet"
    shutil.copyfile(next(extra.parent.glob("*.parquet")), extra)
    try:
        assert copy.stale() == ["events"]
    finally:
        extra.unlink()
    assert copy.stale() == []


class Notes(Silent):
    """A display that keeps the lines that stay."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def assert_equal(copy: Copy, unlike: tuple[str, ...]) -> None:
    """Every file has its original bytes, but for those that name a time or a place."""
    for path in copy.original.rglob("*"):
        name = path.relative_to(copy.original).as_posix()
        if path.is_file() and not name.endswith(unlike):
            assert (copy.run / name).read_bytes() == path.read_bytes(), name


@pytest.mark.parametrize(
    "damaged",
    [
        {"validity.json": "change_a_digit", "summary.json": "truncate", "results.parquet": "delete"},
        {"report_manifest.json": "truncate"},
        {"report.html": "change_a_digit", "tables/results.csv": "change_a_digit"},
    ],
)
def test_results_are_made_again_with_the_same_bytes(damaged: dict[str, str], copy: Copy) -> None:
    for name, damage in damaged.items():
        DAMAGES[damage](copy.run / name, random.Random(name))
    display = Notes()
    pipeline.run_study(copy.study, display)
    assert sorted(display.lines) == sorted(
        f"{name}: damaged or missing; it is made again" for name in damaged
    )
    assert_equal(copy, ("audit.jsonl", ".lock"))
    assert copy.stale() == [] and verify(copy.run).problems == []


@pytest.mark.parametrize("damaged", REMADE, ids=lambda damaged: next(iter(damaged)))
def test_stages_and_cells_are_made_again(
    damaged: dict[str, str], copy: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole folders with the same bits, nothing else; the summary counts the damaged files."""
    noted = damage_of_run.count(copy.run)
    for name, damage in damaged.items():
        DAMAGES[damage](copy.run / name, random.Random(name))
    file = copy.run.parents[1] / "study.yaml"
    file.write_text((copy.run / "study.yaml").read_text("utf-8"), "utf-8")
    assert cli.call(["study", str(file)]) == 0
    shown = capsys.readouterr()
    assert all(shown.err.count(f"{name}: damaged") == 1 for name in damaged), shown.err
    cells = [name for name in damaged if name.startswith("cells/")]
    assert f"{len(cells)} cells run" in shown.out
    assert verify(copy.run).problems == [] and copy.stale() == []
    assert_equal(copy, (".json", ".jsonl", ".html", ".csv", ".svg", ".png", ".lock", "study.yaml"))
    before, after = (artifacts.read_json(run / "summary.json") for run in (copy.original, copy.run))
    notes = [note for note in after["limitations"] if note["code"] == "limitation.damaged_files"]
    assert [note["parameters"]["n"] for note in notes] == [noted + len(damaged)]
    assert after["answers"] == before["answers"]
    assert notes[0]["text"] in (copy.run / "report.html").read_text("utf-8")
    kept = {path.name for path in (copy.run / "damaged").iterdir()}
    assert kept >= {
        name.split("/")[-2] if name.startswith("cells") else name.split("/")[0] for name in damaged
    }
    assert (copy.run / "damaged").stat().st_mode & 0o777 == 0o700
