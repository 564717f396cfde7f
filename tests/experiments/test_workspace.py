"""Which patients a cell is given: the same for every arm, each subset within the next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from claimscale import artifacts
from claimscale.codes.systems import TYPES
from claimscale.config import loading
from claimscale.config.comparison import Baseline
from claimscale.experiments.cells import Cell, cells_of
from claimscale.experiments.datasets import LabelledSample
from claimscale.experiments.execute import CellRun
from claimscale.experiments.workspace import Workspace

BASELINES = list(get_args(Baseline))


@pytest.fixture
def workspace(write_study, tmp_path, monkeypatch) -> Workspace:
    """A workspace whose samples are made up; no claims are prepared."""
    study = loading.load(
        write_study(finetune={"labelled_patients": [100, 300, "all"], "seeds": [42]}, baselines=BASELINES)
    )
    random = np.random.default_rng(0)

    def sample(first: int, count: int) -> LabelledSample:
        subjects = np.arange(first, first + count)
        return LabelledSample(subjects, subjects, np.full(count, 18_000), random.random(count) < 0.2)

    samples = {"train": sample(0, 1000), "tuning": sample(2000, 400), "held_out": sample(4000, 50)}
    monkeypatch.setattr(Workspace, "samples", lambda self, task: samples)
    return Workspace(study, tmp_path)


def chosen(workspace: Workspace, cell: Cell) -> tuple[list[int], list[int], dict[str, list[int]]]:
    train, tuning, others = workspace.cell_samples(cell)
    predicted = {name: sample.subjects.tolist() for name, sample in others.items()}
    return train.subjects.tolist(), tuning.subjects.tolist(), predicted


@pytest.mark.parametrize("patients", [100, 300, "all"])
def test_every_arm_trains_on_and_predicts_the_same_patients(workspace, patients) -> None:
    cells = [cell for cell in cells_of(workspace.study) if cell.patients == patients]
    assert {cell.kind for cell in cells} == {"finetune", *BASELINES}
    first = chosen(workspace, cells[0])
    assert all(chosen(workspace, cell) == first for cell in cells)
    assert len(first[0]) == (1000 if patients == "all" else patients)
    assert not set(first[0]) & set(first[1]) and "train" not in first[2]


def test_a_smaller_subset_lies_within_each_larger_one(workspace) -> None:
    for kind in BASELINES:
        cells = [cell for cell in cells_of(workspace.study) if cell.kind == kind]
        found = {cell.patients: chosen(workspace, cell) for cell in cells}
        for smaller, larger in ((100, 300), (300, "all")):
            assert set(found[smaller][0]) < set(found[larger][0])
            assert set(found[smaller][1]) <= set(found[larger][1])


def test_each_seed_labels_other_patients(workspace) -> None:
    one, same, other = (
        set(chosen(workspace, Cell("lightgbm", seed, task="ckd", patients=100))[0]) for seed in (42, 42, 43)
    )
    assert one == same and len(one & other) < 30


def test_scarce_labels_withhold_the_outcomes_from_pretraining(write_study, tmp_path: Path) -> None:
    vocabulary = SimpleNamespace(
        tokens_with_prefix=lambda codes: np.arange(sum(map(len, codes.values()))), types=np.zeros(9, int)
    )
    cell = Cell("finetune", 42, "80k", "ckd", "pretrained", "all")
    for labels, withheld in (("scarce", True), ("all_dates", False)):
        workspace = Workspace(loading.load(write_study(labels=labels)), tmp_path)
        workspace.__dict__["store"] = SimpleNamespace(vocabulary=vocabulary)
        assert (len(workspace.withheld_tokens) > 0) == withheld
        predicted = CellRun(workspace, cell, 1, lambda share: None).outcome_tokens()
        assert (predicted is None) == withheld, "no zero-shot prediction of what pretraining has not seen"


def test_positives_of_pretraining_are_patients_known_before_the_landmark(write_study, tmp_path: Path) -> None:
    outcome, suspected, other = 10, 11, 12
    types = np.zeros(20, int)
    types[suspected] = TYPES.index("suspected")
    found = Workspace(loading.load(write_study()), tmp_path)
    last = found.last_pretraining_day
    events = [
        [(outcome, last - 9), (outcome, last)],  # once
        [(outcome, last + 1)],
        [(suspected, last - 5), (other, last - 4)],
        [(outcome, last - 2)],  # a test patient
        [(other, last - 3), (outcome, last - 3)],
    ]
    found.__dict__["store"] = SimpleNamespace(
        token=np.array([token for patient in events for token, _ in patient]),
        available=np.array([day for patient in events for _, day in patient]),
        offsets=np.cumsum([0, *map(len, events)]),
        rows_of=lambda subjects: subjects,
        vocabulary=SimpleNamespace(
            tokens_with_prefix=lambda codes: np.array([outcome, suspected]), types=types
        ),
    )
    found.__dict__["splits"] = {"train": np.array([0, 1, 2, 4]), "held_out": np.array([3])}
    assert found.pretraining_positives(found.study.tasks[0]) == 2


def test_a_subset_has_all_index_dates_of_its_patients(write_study, tmp_path: Path) -> None:
    workspace = Workspace(loading.load(write_study()), tmp_path)
    subjects = np.repeat(np.arange(50), np.arange(50) % 4 + 1)
    rows = np.arange(len(subjects))
    sample = LabelledSample(subjects, rows, rows, rows % 2 == 0)
    smaller: set[int] = set()
    for patients in (1, 7, 30, 50, 80):
        chosen = workspace.subset(sample, patients, 1)
        found = set(chosen.subjects.tolist())
        assert len(found) == min(patients, 50) and smaller <= found
        assert sorted(chosen.rows) == sorted(rows[np.isin(subjects, list(found))])
        smaller = found
    assert sorted(workspace.subset(sample, "all", 1).rows) == sorted(rows)
    assert len(workspace.subset(sample.take(np.zeros(0, int)), 5, 1).rows) == 0


def test_only_settings_with_an_effect_make_a_cell_stale(write_study, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(artifacts, "manifest_digest", lambda folder: folder.name)
    labels = {"files": {name: {"sha256": ""} for name in ("ckd.parquet", "index/ckd.parquet")}}
    monkeypatch.setattr(artifacts, "read_manifest", lambda folder: labels)
    rates = [1e-3, 4e-3, 1.6e-2]

    def inputs(**pretrain: object) -> dict[str, str]:
        study = loading.load(write_study(pretrain={"lr_sweep": rates} | pretrain))
        cells = [Cell("pretrain", 42, "80k"), Cell("sweep", 42, "80k")]
        cells.append(Cell("finetune", 42, "80k", "ckd", "pretrained", "all"))
        return {cell.kind: Workspace(study, tmp_path).fingerprint(cell) for cell in cells}

    def stale(**pretrain: object) -> set[str]:
        before, after = inputs(), inputs(**pretrain)
        return {kind for kind in before if before[kind] != after[kind]}

    assert stale(lr_sweep=[1e-3, 4e-3, 1.6e-2, 3.2e-2]) == {"sweep"}
    assert stale(lr_sweep_fraction=0.2) == {"sweep"}
    assert stale(cooldown_fractions=[0.25, 0.5, 1]) == {"pretrain"}, (
        "the weights that are fine-tuned are the same"
    )
    assert stale(learning_rate=1e-3) == {"pretrain", "finetune"}
    assert stale(mask_unit="code") == {"pretrain", "sweep", "finetune"}
    assert stale(checkpoint_minutes=1.0) == set()


def counts_of(
    smallest: dict[str, int] | None, shortage: dict[str, object] | None = None
) -> dict[str, object]:
    found: dict[str, object] = {"splits": {"train": {"patients": 900}}, "insufficient_data": shortage}
    return found if smallest is None else {**found, "min_labelled_patients": smallest}


def test_subsets_that_are_too_small_are_skipped_by_task(write_study, tmp_path: Path) -> None:
    names = ["ckd", "gout", "pregabalin", "stroke"]
    tasks = [{"name": name, "kind": "disease", "outcome": {"ICD10": ["N18"]}} for name in names]
    study = loading.load(write_study(tasks=tasks, finetune={"labelled_patients": [100, 300, 1000]}))
    workspace = Workspace(study, tmp_path)
    workspace.labels = {
        "ckd": counts_of({"positive": 301, "negative": 7}),
        "gout": counts_of({"positive": 5, "negative": 100}),
        "pregabalin": counts_of({"positive": 900, "negative": 900}, {"label": "positive"}),
        "stroke": counts_of(None),  # as an earlier version made them
    }
    assert workspace.skipped_subsets == {"ckd": ("positive", [100, 300])}
    assert workspace.insufficient_data == {"pregabalin": {"label": "positive"}}


def test_a_task_without_a_large_enough_subset_is_not_trained(write_study, tmp_path: Path) -> None:
    study = loading.load(write_study(finetune={"labelled_patients": [100, 300]}))
    workspace = Workspace(study, tmp_path)
    workspace.labels = {"ckd": counts_of({"positive": 12, "negative": 400})}
    assert workspace.skipped_subsets["ckd"].patients == [100, 300]
    assert workspace.insufficient_data == {"ckd": {"label": "negative", "observed": {}, "required": 3}}
