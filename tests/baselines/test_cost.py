"""The cost of a baseline includes the encoder of its embeddings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from claimscale import artifacts
from claimscale.config.comparison import Search
from claimscale.experiments import execute
from claimscale.experiments.cells import Cell
from claimscale.experiments.datasets import CellSamples, LabelledSample
from claimscale.model import shapes
from claimscale.model.encoder import Encoder
from claimscale.tokens.sequences import select_inputs
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.checkpoints import save_tensors
from claimscale.training.cost import CostMeter

TASK = "ckd"


@pytest.fixture
def workspace(claims, stores, tmp_path: Path) -> SimpleNamespace:
    """Enough of a workspace for a baseline: 120 made-up patients and an encoder that knows nothing."""
    store = stores.random(120, seed=3)
    rows, random = np.arange(120), np.random.default_rng(0)
    sample = LabelledSample(rows, rows, np.full(120, stores.index_day), random.random(120) < 0.3)
    split = {"train": sample.take(rows[:60]), "tuning": sample.take(rows[60:90])}
    others = {"tuning": split["tuning"], "held_out": sample.take(rows[90:])}
    study = claims.study().model_copy(update={"search": Search(n_trials=2)})
    found = SimpleNamespace(
        study=study,
        store=store,
        token_metadata=TokenMetadata.plain(store.vocabulary.types),
        task=lambda name: next(task for task in study.tasks if task.name == name),
        shape=lambda size: shapes.Shape(store.vocabulary.size, 64, 1, 64, 64),
        folder=lambda cell_id: tmp_path / cell_id,
        cell_samples=lambda cell: CellSamples(split["train"], split["tuning"], others),
        withheld_tokens=np.zeros(0, np.int32),
    )
    weights = found.folder("pretrain-80k-s1")
    weights.mkdir()
    save_tensors(
        weights / "model.safetensors", Encoder(found.shape("80k"), found.token_metadata).state_dict()
    )
    artifacts.seal(weights, "inputs")
    return found


@pytest.mark.parametrize("kind", ["lightgbm", "lightgbm_embeddings", "lightgbm_counts_and_embeddings"])
def test_cost_includes_the_encoder_on_its_device(
    workspace, stores, tmp_path: Path, monkeypatch, kind: str
) -> None:
    on_encoder = kind != "lightgbm"
    device, meters = torch.device("cpu", 0), []
    monkeypatch.setattr(execute.CellRun, "device", device)
    monkeypatch.setattr(execute, "CostMeter", lambda device: meters.append(CostMeter(device)) or meters[-1])
    cell = Cell(kind, 1, "80k" if on_encoder else None, TASK, None, "all")
    (tmp_path / cell.id).mkdir()
    result = execute._baseline(execute.CellRun(workspace, cell, 1, lambda share: None))
    assert [meter.device for meter in meters] == [device if on_encoder else torch.device("cpu")]
    cost = result["cost"]
    assert cost["tokens"] is None, "nothing was trained"
    if not on_encoder:
        assert cost["flops"] is cost["mfu"] is cost["peak_tflops"] is None
        return
    embedded = np.r_[:120, 60:90]  # tuning patients to choose by, and to predict
    tokens = workspace.study.tokens
    sequences = select_inputs(
        workspace.store, embedded, np.full(150, stores.index_day), tokens.max_length, tokens.deduplicate,
        np.zeros(0, np.int32),
    )  # fmt: skip
    assert cost["flops"] == pytest.approx(
        shapes.classifier_flops(workspace.shape("80k"), sequences.lengths, zero_shot=True)
    )
    assert cost["mfu"] > 0
