"""Which cell is begun next, and whether it has the machine to itself."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from claimscale.errors import BadInput
from claimscale.experiments.cells import Cell
from claimscale.experiments.cost_estimate import TimeLeft
from claimscale.experiments.runners import local as schedule
from claimscale.experiments.runners.local import Sweep

PRETRAINING = Cell("pretrain", 42, "70k")
TUNED = Cell("finetune", 42, "70k", "ckd", "pretrained", "all")
BOOSTED = Cell("lightgbm", 42, task="ckd", patients="all")
AVERAGED = Cell("ensemble", 42, "70k", "ckd", patients="all")


def sweep_of(*cells: Cell, done: set[str] | None = None) -> Sweep:
    expected = {cell.id: 10.0 if cell.kind == "finetune" else 20.0 for cell in cells}
    time_left = TimeLeft(expected, {cell.id: cell.kind for cell in cells})
    done = done or set()
    return Sweep(list(cells), time_left, 2, [cell for cell in cells if cell.id not in done], done=done)


def test_what_others_need_comes_first_then_what_takes_longest() -> None:
    sweep = sweep_of(AVERAGED, TUNED, BOOSTED, PRETRAINING)
    order = []
    while (cell := sweep.next_ready()) is not None:
        sweep.waiting.remove(cell)
        sweep.done.add(cell.id)
        order.append(cell)
    assert order == [PRETRAINING, BOOSTED, TUNED, AVERAGED]


@pytest.mark.parametrize(
    ("cells", "alone"), [((PRETRAINING, TUNED), True), ((PRETRAINING, TUNED, BOOSTED), False)]
)
def test_a_cell_that_all_others_wait_for_is_alone(cells: tuple[Cell, ...], alone: bool) -> None:
    sweep = sweep_of(*cells)
    assert sweep.next_ready() == PRETRAINING
    assert sweep.alone(PRETRAINING) is alone


def test_the_last_cell_is_alone_once_nothing_else_runs() -> None:
    sweep = sweep_of(PRETRAINING, TUNED, done={PRETRAINING.id})
    other: Future[float] = Future()
    sweep.running[other] = PRETRAINING
    assert not sweep.alone(TUNED)
    del sweep.running[other]
    assert sweep.alone(TUNED)


def test_only_training_that_is_alone_gets_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "cores", lambda: 16)
    assert sweep_of(PRETRAINING, TUNED).granted(PRETRAINING, 8) == 16
    assert sweep_of(PRETRAINING, TUNED, BOOSTED).granted(PRETRAINING, 8) == 8
    assert sweep_of(BOOSTED).granted(BOOSTED, 8) == 8, "trees of other threads have other bits"


def test_what_a_cell_cannot_use_is_told_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of a study of many cells must say which: its name holds task and subset."""
    from claimscale.experiments import execute as work

    def refuse(*_: object) -> None:
        raise BadInput("all training patients have the same outcome")

    monkeypatch.setattr(work, "run_cell", refuse)
    monkeypatch.setattr(schedule, "_workspace", object())
    monkeypatch.setattr(schedule, "_fractions", object())
    with pytest.raises(BadInput, match=r"^lightgbm-ckd-nall-s42: all training patients"):
        schedule._work(BOOSTED, 1)
