"""Two runs compared: no false alarms between equal ones, and real differences found."""

from typing import Any

import numpy as np
import pytest

from claimscale.errors import BadInput
from claimscale.evaluation.replication import compare, holm, text


def summary(
    gains: dict[str, float],
    error: float = 0.004,
    sufficient: str | None = None,
    margin: float = 0.02,
    **changed: Any,
) -> dict[str, Any]:
    """A run that asked one question; the gains of 9M over smaller sizes, as shares."""
    evidence = [
        {
            "smaller": size,
            "larger": "9M",
            "relative": {"gain": gain, "standard_error": error, "degrees": 30.0},
        }
        for size, gain in gains.items()
    ]
    saturation = {
        "verdict": "saturated" if sufficient else "inconclusive",
        "smallest_sufficient": sufficient,
        "metric": "auprc",
        "relative_margin": margin,
        "evidence": evidence,
    }
    return {"name": "run", "tasks": [{"name": "ckd", "saturation": saturation | changed}]}


def test_a_run_does_not_differ_from_itself() -> None:
    one = summary({"3M": 0.001, "1M": 0.05}, sufficient="3M")
    (found,) = compare(one, one)
    assert not found.differ and all(pair.p == 1 and pair.difference == 0 for pair in found.pairs)
    assert "not evidence of equality" in text(("A", "B"), [found])


def test_a_size_that_suffices_here_and_not_there() -> None:
    (found,) = compare(summary({"3M": 0.001}, sufficient="3M"), summary({"3M": 0.08}))
    assert found.differ and found.pairs[0].p < 0.001
    assert found.pairs[0].low < -0.079 < found.pairs[0].high
    assert "saturation points differ" in text(("A", "B"), [found])


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
        ({"name": "else", "tasks": []}, "no task in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(other: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        compare(summary({"3M": 0.0}), other)


def test_holm_keeps_order_and_never_lowers() -> None:
    assert holm([0.01, 0.5, 0.02]) == pytest.approx([0.03, 0.5, 0.04])
    assert holm([]) == []
