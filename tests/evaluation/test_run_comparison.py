"""Two runs compared: no false alarms between equal ones, and real differences found."""

from typing import Any

import numpy as np
import pytest

from claimscale.errors import BadInput
from claimscale.evaluation.run_comparison import RunDecisions, compare, holm, text
from claimscale.summary.decision_schema import SaturationEntry


def summary(
    gains: dict[str, float],
    error: float = 0.004,
    sufficient: str | None = None,
    margin: float = 0.02,
    larger: str = "9M",
    seeds: int = 3,
    **changed: Any,
) -> RunDecisions:
    """A run with one task; the gains of the largest over smaller sizes, as shares."""
    decision = {
        "verdict": "saturated" if sufficient else "inconclusive",
        "smallest_sufficient": sufficient,
        "metric": "auprc",
        "relative_margin": margin,
        "convergence_status": "converged",
        "reason": None,
        "comparisons": [
            {
                "smaller": size,
                "larger": larger,
                **dict.fromkeys(("difference", "low", "high", "upper_95", "upper_at_alpha", "margin")),
                "n_seeds": seeds,
                "relative": {"gain": gain, "standard_error": error, "degrees_of_freedom": 30.0},
            }
            for size, gain in gains.items()
        ],
    }
    return RunDecisions("run", {"ckd": SaturationEntry.model_validate(decision | changed)})


def test_a_run_does_not_differ_from_itself() -> None:
    one = summary({"3M": 0.001, "1M": 0.05}, sufficient="3M")
    (found,) = compare(one, one)
    assert not found.differ and all(pair.p == 1 and pair.difference == 0 for pair in found.pairs)
    assert "not evidence of equality" in text(("A", "B"), [found])


def test_a_size_that_suffices_in_one_run_only_is_found() -> None:
    (found,) = compare(summary({"3M": 0.001}, sufficient="3M"), summary({"3M": 0.08}))
    assert found.differ and found.pairs[0].p < 0.001
    assert found.pairs[0].low < -0.079 < found.pairs[0].high
    assert "saturation points differ" in text(("A", "B"), [found])


def test_a_size_that_only_one_run_has_shows_no_difference() -> None:
    """B gains nothing up to 3M either, and much from 9M, which A never trained."""
    decision = summary({"1M": 0.001}, larger="3M").tasks["ckd"]
    comparisons = decision.comparisons + summary({"1M": 0.2}).tasks["ckd"].comparisons
    second = RunDecisions("run", {"ckd": decision.model_copy(update={"comparisons": comparisons})})
    (found,) = compare(summary({"1M": 0.001}, larger="3M", sufficient="1M"), second)
    assert not found.differ and [(pair.smaller, pair.larger) for pair in found.pairs] == [("1M", "3M")]


def test_one_seed_or_no_convergence_shows_no_difference() -> None:
    flat, rising = summary({"3M": 0.001}, sufficient="3M"), summary({"3M": 0.08}, seeds=1)
    (found,) = compare(flat, rising)
    assert not found.differ and not found.pairs
    (found,) = compare(
        summary({"3M": 0.001}, sufficient="3M", convergence_status="under_trained"), summary({"3M": 0.08})
    )
    assert not found.differ
    assert "3M suffices, but under-trained" in text(("A", "B"), [found])


def test_many_questions_at_the_margin_seldom_differ() -> None:
    """Ten questions, all saturated in A, B exactly at the margin in each: any difference in about 5 %."""
    generator, alarms = np.random.default_rng(1), []
    for _ in range(400):
        gains = 0.02 + 0.004 * generator.standard_t(30, size=10)
        flat = summary({"3M": 0.0}, sufficient="3M").tasks["ckd"]
        first = RunDecisions("a", {f"task{task}": flat for task in range(10)})
        second = RunDecisions(
            "b", {f"task{task}": summary({"3M": gain}).tasks["ckd"] for task, gain in enumerate(gains)}
        )
        alarms.append(any(found.differ for found in compare(first, second)))
    assert np.mean(alarms) <= 0.08
    assert np.mean(alarms) > 0.01


def test_larger_than_nothing_but_below_the_margin_is_no_difference() -> None:
    (found,) = compare(summary({"3M": 0.001}, sufficient="3M"), summary({"3M": 0.015}, error=0.001))
    assert not found.differ and found.pairs[0].p_holm < 0.01
    assert "Gains from size differ" in text(("A", "B"), [found])


def test_an_uncertain_second_run_shows_no_difference() -> None:
    (found,) = compare(summary({"3M": 0.001}, sufficient="3M"), summary({"3M": 0.08}, error=0.06))
    assert not found.differ and found.pairs[0].p > 0.05


def test_equal_runs_seldom_differ() -> None:
    """Two sizes and a true gain of each: after Holm about one pair of runs in twenty has any difference."""
    generator = np.random.default_rng(0)
    alarms = []
    for _ in range(400):
        both = [
            summary({size: 0.02 + 0.004 * generator.standard_t(30) for size in ("3M", "1M")})
            for _ in range(2)
        ]
        (found,) = compare(*both)
        alarms.append(any(pair.p_holm < 0.05 for pair in found.pairs))
    assert np.mean(alarms) <= 0.08


def test_only_sizes_that_both_have_are_compared() -> None:
    (found,) = compare(summary({"3M": 0.0, "1M": 0.1}), summary({"3M": 0.0, "2M": 0.1}))
    assert [pair.smaller for pair in found.pairs] == ["3M"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (summary({"3M": 0.0}, margin=0.05), "relative_margin is 0.02"),
        (summary({"3M": 0.0}, metric="auroc"), "metric is auprc"),
        (RunDecisions("else", {}), "no task in common"),
    ],
)
def test_runs_without_common_settings_are_refused(other: RunDecisions, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        compare(summary({"3M": 0.0}), other)


def test_holm_keeps_order_and_never_lowers() -> None:
    assert holm([0.01, 0.5, 0.02]) == pytest.approx([0.03, 0.5, 0.04])
    assert holm([]) == []
