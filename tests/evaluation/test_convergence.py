"""Guards against calling under-training a plateau."""

from dataclasses import replace

import pytest

from claimscale.evaluation.convergence import convergence, has_interior_optimum, last_doubling_drop
from claimscale.evaluation.pretrained_sizes import CooldownLoss, LearningRateTrial, PretrainedSize

RATES = (1e-3, 2e-3, 4e-3)


def size(name: str, half: float = 2.005, best: int = 1, train_loss: float | None = 1.98) -> PretrainedSize:
    losses = [2.0 if place == best else 2.2 for place in range(len(RATES))]
    return PretrainedSize(
        name,
        parameters=1,
        train_loss=train_loss,
        validation_loss=2.0,
        lr_sweep=tuple(trials(*losses)),
        cooldowns_by_seed=(cooldowns({1000: 2.3, 2010: half, 4000: 2.0}),),
    )


def trials(*losses: float | None) -> list[LearningRateTrial]:
    pairs = zip(RATES, losses, strict=False)
    return [{"learning_rate": rate, "validation_loss": loss} for rate, loss in pairs]


def cooldowns(losses: dict[int, float | None]) -> list[CooldownLoss]:
    last = max(losses)
    return [
        {"share": tokens / last, "tokens": tokens, "steps": tokens // 40, "validation_loss": loss}
        for tokens, loss in losses.items()
    ]


def test_all_guards_measured_and_passed() -> None:
    found = convergence([size("1M"), size("3M")])
    assert found.status == "converged" and found.failed == found.not_measured == ()
    assert found.loss_drop_last_doubling == pytest.approx(0.005 / 2.005)


@pytest.mark.parametrize(
    ("sizes", "failed"),
    [
        ([size("1M"), size("3M", half=2.05)], ("tokens",)),
        ([size("1M"), size("3M", half=1.90)], ("tokens",)),
        ([size("1M", best=2), size("3M")], ("learning_rate",)),
        ([size("1M", best=0), size("3M", train_loss=1.5)], ("learning_rate", "overfitting")),
    ],
)
def test_one_failure_is_under_training(sizes: list[PretrainedSize], failed: tuple[str, ...]) -> None:
    found = convergence(sizes)
    assert found.status == "under_trained" and found.failed == failed


def test_only_the_largest_size_needs_enough_tokens() -> None:
    assert convergence([size("1M", half=2.2), size("3M")]).status == "converged"


def test_a_guard_not_measured_is_unknown_not_passed() -> None:
    bare = PretrainedSize("1M", 1, validation_loss=2.0, cooldowns_by_seed=(None,))
    found = convergence([bare])
    assert found.status == "unknown"
    assert found.not_measured == ("tokens", "learning_rate", "overfitting")
    assert convergence([]).status == "unknown"


def test_the_worst_seed_counts() -> None:
    ends = (*size("3M").cooldowns_by_seed, *size("3M", half=2.1).cooldowns_by_seed)
    assert convergence([replace(size("3M"), cooldowns_by_seed=ends)]).failed == ("tokens",)


def test_without_a_doubling_of_tokens_the_drop_is_unknown() -> None:
    assert last_doubling_drop(cooldowns({3000: 2.1, 4000: 2.0})) is None
    assert last_doubling_drop(None) is None


def test_only_the_last_doubling_counts() -> None:
    assert last_doubling_drop(cooldowns({4000: None, 2000: 2.0, 1000: 2.005})) is None
    found = last_doubling_drop(cooldowns({2000: 2.0, 1000: 2.005, 4000: 1.9}))
    assert found == pytest.approx(0.05)


def test_a_loss_of_incident_codes_that_still_falls_counts() -> None:
    half, whole = cooldowns({1000: 2.0, 2000: 2.0})
    half["validation_loss_incident"], whole["validation_loss_incident"] = 4.0, 3.9
    assert last_doubling_drop([half, whole]) == pytest.approx(0.025)


def test_a_rate_that_diverged_is_worse_than_all_others() -> None:
    assert has_interior_optimum(trials(2.2, 2.0, None)) is True
    assert has_interior_optimum(trials(2.2, 2.0)) is None
    assert has_interior_optimum(trials(None, None, None)) is None
