from __future__ import annotations

from typing import get_args

from claimscale.config import loading
from claimscale.config.comparison import Baseline
from claimscale.experiments.cells import Cell, cells_of


def test_every_size_arm_subset_and_seed_has_a_cell_of_its_own(write_study) -> None:
    settings = loading.load(
        write_study(
            sizes=["80k", "90k"],
            tasks=["ckd", "pregabalin"],
            pretrain={"seeds": [1, 2, 3]},
            finetune={"labelled_patients": [100, "all"], "seeds": [1, 2]},
        )
    )
    cells = cells_of(settings)
    kinds = [cell.kind for cell in cells]
    assert kinds.count("pretrain") == 2 * 2, "a seed that nobody fine-tunes is not pretrained"
    assert kinds.count("finetune") == 2 * 2 * 2 * 2 * 2
    assert kinds.count("lightgbm") == 2 * 2 * 2
    assert len({cell.id for cell in cells}) == len(cells)


def test_needed_cells_come_first(write_study) -> None:
    cells = cells_of(loading.load(write_study(sizes=["80k", "90k"])))
    place = {cell.id: index for index, cell in enumerate(cells)}
    needs = [(place[cell.id], place[need.id]) for cell in cells for need in cell.needs]
    assert needs and all(own > needed for own, needed in needs)
    assert not any(cell.needs for cell in cells if cell.arm != "pretrained")


def test_subsets_that_hold_everyone_become_one_cell(write_study) -> None:
    settings = loading.load(
        write_study(finetune={"labelled_patients": [100, 5000, 9000, "all"], "seeds": [42]})
    )
    subsets = {cell.patients for cell in cells_of(settings, {"ckd": 5000}) if cell.kind == "lightgbm"}
    assert subsets == {100, "all"}


def test_without_the_pretrained_arm_nothing_is_pretrained(write_study) -> None:
    cells = cells_of(loading.load(write_study(finetune={"initialization": ["scratch"]})))
    assert {cell.kind for cell in cells} == {"finetune", "lightgbm", "logistic", "outcome_history"}


def test_baselines_on_embeddings_need_the_largest_pretraining(write_study) -> None:
    settings = loading.load(
        write_study(
            sizes=["80k", "90k"],
            finetune={"initialization": ["scratch"], "seeds": [42]},
            baselines=["lightgbm_embeddings", "lightgbm_counts_and_embeddings", "logistic"],
        )
    )
    cells = cells_of(settings)
    assert [cell.id for cell in cells if cell.kind == "pretrain"] == ["pretrain-90k-s42"]
    needs = {cell.id: needed(cell) for cell in cells if cell.kind in settings.baselines}
    assert needs == {
        "lightgbm_embeddings-ckd-90k-nall-s42": ["pretrain-90k-s42"],
        "lightgbm_counts_and_embeddings-ckd-90k-nall-s42": ["pretrain-90k-s42"],
        "logistic-ckd-nall-s42": [],
    }


def test_an_ensemble_needs_its_members_on_the_same_patients(write_study) -> None:
    settings = loading.load(
        write_study(
            sizes=["80k", "90k"],
            finetune={"labelled_patients": [100, "all"], "seeds": [42]},
            baselines=["ensemble", "lightgbm"],
        )
    )
    cells = cells_of(settings)
    averages = [cell for cell in cells if cell.kind == "ensemble"]
    assert {cell.id: needed(cell) for cell in averages} == {
        f"ensemble-ckd-90k-n{n}-s42": [
            f"finetune-ckd-90k-pretrained-n{n}-s42",
            f"lightgbm-ckd-n{n}-s42",
        ]
        for n in (100, "all")
    }
    assert {need for cell in averages for need in cell.needs} <= set(cells)


def needed(cell: Cell) -> list[str]:
    return [need.id for need in cell.needs]


def test_every_baseline_gets_every_subset_and_seed(write_study) -> None:
    names = list(get_args(Baseline))
    cells = cells_of(loading.load(write_study(finetune={"labelled_patients": [100, "all"]}, baselines=names)))
    for name in names:
        found = {(cell.patients, cell.seed) for cell in cells if cell.kind == name}
        assert found == {(patients, seed) for patients in (100, "all") for seed in (42, 123, 456)}


def test_tasks_that_cannot_be_trained_have_no_cells(write_study) -> None:
    settings = loading.load(write_study(tasks=["ckd", "gout"]))
    assert {cell.task for cell in cells_of(settings, {"gout": 900})} == {None, "gout"}
    assert cells_of(settings, {}) == []


def test_a_skipped_subset_is_skipped_by_every_model(write_study) -> None:
    settings_of = {
        "finetune": {"labelled_patients": [100, 300, "all"]},
        "baselines": list(get_args(Baseline)),
    }
    settings = loading.load(write_study(tasks=["ckd", "gout"], **settings_of))
    labelled = {"ckd": 900, "gout": 900}
    everything, left = cells_of(settings, labelled), cells_of(settings, labelled, {"ckd": [100]})
    dropped = [cell for cell in everything if cell not in left]
    assert dropped == [cell for cell in everything if cell.task == "ckd" and cell.patients == 100]
    assert {cell.kind for cell in dropped} == {"finetune", *settings.baselines}
    assert {need for cell in left for need in cell.needs} <= set(left)
    assert cells_of(settings, labelled, {}) == everything


def test_names_are_stable() -> None:
    assert Cell("pretrain", 42, "11M").id == "pretrain-11M-s42"
    assert Cell("lightgbm", 42, task="ckd", patients="all").id == "lightgbm-ckd-nall-s42"
    cell = Cell("finetune", 42, "11M", "ckd", "pretrained", 10000)
    assert cell.id == "finetune-ckd-11M-pretrained-n10000-s42" and needed(cell) == ["pretrain-11M-s42"]


def test_rates_are_swept_once_per_size_and_nothing_needs_it(write_study) -> None:
    rates = {"lr_sweep": [1e-3, 4e-3, 1.6e-2]}
    cells = cells_of(loading.load(write_study(sizes=["80k", "90k"], pretrain=rates)))
    assert [cell.id for cell in cells if cell.kind == "sweep"] == ["sweep-80k-s42", "sweep-90k-s42"]
    assert not any(need.kind == "sweep" for cell in cells for need in cell.needs)
    assert "sweep" not in {cell.kind for cell in cells_of(loading.load(write_study()))}
