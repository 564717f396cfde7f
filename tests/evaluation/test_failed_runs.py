"""A failed run is named; runs that differ as runs do are not."""

from __future__ import annotations

import numpy as np
import pytest

from claimscale.evaluation.failed_runs import failed_runs, unseen_failure_rate
from claimscale.evaluation.pretrained_sizes import PretrainedSize


def size(incident: list[float | None], masked: list[float | None] | None = None) -> PretrainedSize:
    return PretrainedSize(
        "80k",
        80_000,
        incident_loss_by_seed=tuple(incident),
        validation_loss_by_seed=tuple(masked or incident),
        seeds=tuple(range(len(incident))),
    )


def test_a_collapsed_run_is_found_whichever_it_is() -> None:
    for place in range(3):
        losses: list[float | None] = [3.60, 3.59, 3.61]
        losses[place] = 3.9
        [found] = failed_runs([size(losses)])
        assert found.seed == place and found.excess == pytest.approx(0.083, abs=0.005)


def test_usual_differences_are_no_failures() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        assert not failed_runs([size((3.6 * (1 + 0.004 * random.normal(size=4))).tolist())])


def test_two_runs_do_not_tell_which_failed() -> None:
    assert not failed_runs([size([3.6, 4.4])])


def test_masked_codes_decide_only_without_incident_codes() -> None:
    assert not failed_runs([size([3.6, 3.6, 3.6], [5.2, 5.2, 5.7])])
    [found] = failed_runs([size([None, None, None], [5.2, 5.2, 5.7])])
    assert found.seed == 2


def test_a_rate_of_failures_that_no_run_shows_is_bounded() -> None:
    for runs in (3, 5, 10):
        assert (1 - unseen_failure_rate(runs)) ** runs == pytest.approx(0.05)
