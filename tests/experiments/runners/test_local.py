"""Which cell is begun next, and whether it has the machine to itself."""

from __future__ import annotations

import pytest

from claimscale.errors import BadInput
from claimscale.experiments.cells import Cell
from claimscale.experiments.cost_estimate import TimeLeft
from claimscale.experiments.runners import local
from claimscale.experiments.runners.cell_queue import CellQueue

PRETRAINING = Cell("pretrain", 42, "80k")
TUNED = Cell("finetune", 42, "80k", "ckd", "pretrained", "all")
BOOSTED = Cell("lightgbm", 42, task="ckd", patients="all")
AVERAGED = Cell("ensemble", 42, "80k", "ckd", patients="all")


def queue_of(*cells: Cell, done: set[str] | None = None) -> CellQueue:
    expected = {cell.id: 10.0 if cell.kind == "finetune" else 20.0 for cell in cells}
    time_left = TimeLeft(expected, {cell.id: cell.kind for cell in cells})
    waiting = [cell for cell in cells if cell.id not in (done or ())]
    return CellQueue(list(cells), time_left, 2, waiting, done=done or set())


def test_needed_cells_start_first_then_the_longest() -> None:
    queue = queue_of(AVERAGED, TUNED, BOOSTED, PRETRAINING)
    order = []
    while (cell := queue.next_ready()) is not None:
        queue.start(cell)
        queue.done.add(cell.id)
        order.append(cell)
    assert order == [PRETRAINING, BOOSTED, TUNED, AVERAGED]


@pytest.mark.parametrize(
    ("cells", "alone"), [((PRETRAINING, TUNED), True), ((PRETRAINING, TUNED, BOOSTED), False)]
)
def test_a_cell_that_all_others_wait_for_is_alone(cells: tuple[Cell, ...], alone: bool) -> None:
    queue = queue_of(*cells)
    assert queue.next_ready() == PRETRAINING
    assert queue.is_alone(PRETRAINING) is alone


def test_the_last_cell_is_alone_once_nothing_else_runs() -> None:
    queue = queue_of(PRETRAINING, TUNED, done={PRETRAINING.id})
    queue.running.append(PRETRAINING)
    assert not queue.is_alone(TUNED)
    queue.running.clear()
    assert queue.is_alone(TUNED)


def test_only_training_that_is_alone_gets_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "cores", lambda: 16)
    assert local.threads_for(queue_of(PRETRAINING, TUNED), PRETRAINING, 8) == 16
    assert local.threads_for(queue_of(PRETRAINING, TUNED, BOOSTED), PRETRAINING, 8) == 8
    assert local.threads_for(queue_of(BOOSTED), BOOSTED, 8) == 8, "trees differ with the number of threads"


def test_a_bad_input_of_a_cell_names_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of a study of many cells must say which: its name holds task and subset."""
    from claimscale.experiments import execute

    def refuse(*_: object) -> None:
        raise BadInput("all training patients have the same outcome")

    monkeypatch.setattr(execute, "run_cell", refuse)
    monkeypatch.setattr(local, "_workspace", object())
    monkeypatch.setattr(local, "_fractions", object())
    with pytest.raises(BadInput, match=r"^lightgbm-ckd-nall-s42: all training patients"):
        local._work(BOOSTED, 1)
