"""Guards against calling under-training a plateau."""

from typing import Any

import pytest

from claimscale.evaluation.convergence import convergence, doubling, interior


def size(name: str, half: float = 2.005, best: int = 1, train_loss: float | None = 1.98) -> dict[str, Any]:
    rates = [{"learning_rate": rate, "validation_loss": 2.2} for rate in (1e-3, 2e-3, 4e-3)]
    rates[best]["validation_loss"] = 2.0
    ends = [
        {"share": 0.25, "tokens": 1000, "steps": 25, "validation_loss": 2.3},
        {"share": 0.5, "tokens": 2010, "steps": 50, "validation_loss": half},
        {"share": 1.0, "tokens": 4000, "steps": 100, "validation_loss": 2.0},
    ]
    return {
        "name": name,
        "lr_sweep": rates,
        "cooldowns_by_seed": [ends],
        "train_loss": train_loss,
        "validation_loss": 2.0,
    }


def test_all_guards_measured_and_passed() -> None:
    found = convergence([size("1M"), size("3M")])
    assert found.status == "converged" and found.failed == found.unmeasured == ()
    assert found.from_doubling == pytest.approx(0.005 / 2.005)


@pytest.mark.parametrize(
    ("sizes", "failed"),
    [
        ([size("1M"), size("3M", half=2.05)], ("tokens",)),
        ([size("1M"), size("3M", half=1.90)], ("tokens",)),
        ([size("1M", best=2), size("3M")], ("learning_rate",)),
        ([size("1M", best=0), size("3M", train_loss=1.5)], ("learning_rate", "overfitting")),
    ],
)
def test_one_failure_is_under_training(sizes: list[dict[str, Any]], failed: tuple[str, ...]) -> None:
    found = convergence(sizes)
    assert found.status == "under_trained" and found.failed == failed


def test_only_the_largest_size_must_have_had_tokens_enough() -> None:
    assert convergence([size("1M", half=2.2), size("3M")]).status == "converged"


def test_what_was_not_measured_is_unknown_not_passed() -> None:
    bare = {"name": "1M", "validation_loss": 2.0, "lr_sweep": None, "cooldowns_by_seed": [None]}
    found = convergence([bare])
    assert found.status == "unknown"
    assert found.unmeasured == ("tokens", "learning_rate", "overfitting")
    assert convergence([]).status == "unknown"


def test_the_worst_seed_counts() -> None:
    largest = size("3M")
    largest["cooldowns_by_seed"] = largest["cooldowns_by_seed"] + size("3M", half=2.1)["cooldowns_by_seed"]
    assert convergence([largest]).failed == ("tokens",)


def test_ends_that_are_not_twice_apart_say_nothing() -> None:
    ends = [{"tokens": 3000, "validation_loss": 2.1}, {"tokens": 4000, "validation_loss": 2.0}]
    assert doubling(ends) is None and doubling(None) is None


def test_only_the_last_doubling_counts() -> None:
    ends = [
        {"tokens": tokens, "validation_loss": loss}
        for tokens, loss in ((4000, None), (2000, 2.0), (1000, 2.005))
    ]
    assert doubling(ends) is None
    assert doubling([*ends[1:], {"tokens": 4000, "validation_loss": 1.9}]) == pytest.approx(0.05)


def test_a_rate_that_diverged_is_worse_than_all_others() -> None:
    tried = [
        {"learning_rate": 1e-3, "validation_loss": 2.2},
        {"learning_rate": 2e-3, "validation_loss": 2.0},
        {"learning_rate": 4e-3, "validation_loss": None},
    ]
    assert interior(tried) is True
    assert interior(tried[:2]) is None
    assert interior([one | {"validation_loss": None} for one in tried]) is None
