from __future__ import annotations

import pytest

from claimscale.config import loading, study
from claimscale.experiments.cells import cells_of
from claimscale.experiments.cost_estimate import Corpus, TimeLeft, cell_flops

CORPUS = Corpus(500, 100, 300_000, 50.0, {"ckd": 4000}, {"ckd": 3000})


@pytest.fixture
def settings(write_study) -> study.Study:
    return loading.load(
        write_study(sizes=["80k", "300k"], finetune={"labelled_patients": [500, "all"], "seeds": [42]})
    )


def test_cost_grows_with_size_and_patients_and_epochs(settings) -> None:
    cost = {cell.id: cell_flops(settings, CORPUS, cell) for cell in cells_of(settings)}
    assert cost["pretrain-300k-s42"] > cost["pretrain-80k-s42"] > 0
    assert cost["finetune-ckd-80k-scratch-nall-s42"] > cost["finetune-ckd-80k-scratch-n500-s42"]
    assert cost["lightgbm-ckd-nall-s42"] == 0
    longer = settings.model_copy(update={"pretrain": settings.pretrain.model_copy(update={"epochs": 16})})
    cell = cells_of(settings)[0]
    assert cell_flops(longer, CORPUS, cell) == pytest.approx(2 * cell_flops(settings, CORPUS, cell), rel=1e-6)


def test_every_learning_rate_that_is_tried_costs_a_training(settings) -> None:
    alone = settings.finetune.model_copy(update={"learning_rates": [1e-3]})
    search = settings.finetune.model_copy(update={"learning_rates": [1e-3, 2e-3, 4e-3]})
    cell = next(cell for cell in cells_of(settings) if cell.kind == "finetune")
    one, three = (
        cell_flops(settings.model_copy(update={"finetune": chosen}), CORPUS, cell)
        for chosen in (alone, search)
    )
    assert 2 * one < three < 3 * one


def test_finished_cells_correct_the_guess_of_their_kind_only(settings) -> None:
    cells = cells_of(settings)
    time_left = TimeLeft.of(settings, CORPUS, cells, threads=1)
    before = {cell.id: time_left.seconds(cell.id) for cell in cells}
    for cell_id in ("finetune-ckd-80k-scratch-n500-s42", "finetune-ckd-300k-scratch-n500-s42"):
        time_left.finished(cell_id, 10 * before[cell_id])
    after = {cell.id: time_left.seconds(cell.id) for cell in cells}
    other = "finetune-ckd-80k-pretrained-n500-s42"
    assert 2 * before[other] < after[other] < 10 * before[other]
    assert after["pretrain-80k-s42"] == before["pretrain-80k-s42"]


def test_cooldowns_and_sweeps_cost_what_they_train(write_study) -> None:
    pretrain = {
        "cooldown_fractions": [0.25, 0.5, 1],
        "lr_sweep": [1e-3, 2e-3, 4e-3, 8e-3],
        "lr_sweep_fraction": 0.1,
    }
    plain, rich = (
        {
            cell.kind: cell_flops(settings, CORPUS, cell)
            for cell in cells_of(settings)
            if cell.kind in ("pretrain", "sweep")
        }
        for settings in (
            loading.load(write_study(pretrain=chosen)) for chosen in ({"cooldown_fractions": [1]}, pretrain)
        )
    )
    assert rich["pretrain"] == pytest.approx(1.15 * plain["pretrain"], rel=1e-3)
    assert rich["sweep"] == pytest.approx(0.4 * plain["pretrain"], rel=1e-3)
