"""Laws and shapes are found again in numbers that were made from them."""

import numpy as np
import pytest

from claimscale.evaluation.pretrained_sizes import CooldownLoss, PretrainedSize
from claimscale.evaluation.scaling_law import LossPoint, effective_tokens, fit_scaling_law, loss_points

SIZES = [1e6, 2e6, 5e6, 1e7, 3e7, 1e8]


def law(parameters: float, tokens: float, epoch: float) -> float:
    return 1.5 + 40 * parameters**-0.3 + 300 * effective_tokens(tokens, epoch) ** -0.35


def points(noise: float, seed: int = 0, epoch: float = 1e9) -> list[LossPoint]:
    generator = np.random.default_rng(seed)
    return [
        LossPoint(str(size), size, tokens, epoch, law(size, tokens, epoch) + noise * generator.normal())
        for size in SIZES
        for tokens in (1e8, 3e8, 1e9)
    ]


def test_the_law_is_found_and_predicts_a_larger_size() -> None:
    found = fit_scaling_law(points(noise=1e-5))
    assert found is not None
    assert found.values["a"] == pytest.approx(0.3, abs=0.03) and found.values["b"] == pytest.approx(
        0.35, abs=0.03
    )
    assert found.loss(5e8, 2e9) == pytest.approx(law(5e8, 2e9, epoch=1e10), abs=2e-3)


def test_intervals_hold_the_truth_and_widen_with_noise() -> None:
    clear, blurred = fit_scaling_law(points(noise=2e-4)), fit_scaling_law(points(noise=4e-3))
    assert clear is not None and blurred is not None
    assert clear.low["a"] <= 0.3 <= clear.high["a"]
    assert blurred.high["a"] - blurred.low["a"] > clear.high["a"] - clear.low["a"]
    narrow, wide = clear.band(1e7, 1e9), blurred.band(1e7, 1e9)
    assert narrow[0] <= clear.loss(1e7, 1e9) <= narrow[1]
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_one_budget_of_tokens_leaves_the_term_in_tokens_out() -> None:
    single = [LossPoint(str(size), size, 1e8, 1e8, 1.5 + 40 * size**-0.3) for size in SIZES]
    found = fit_scaling_law(single)
    assert found is not None and list(found.values) == ["floor", "A", "a"]
    assert found.values["floor"] == pytest.approx(1.5, abs=0.02)
    assert fit_scaling_law(single[:3]) is None


def test_a_law_that_the_points_do_not_identify_is_none() -> None:
    """Losses that fall ever faster have no floor: the estimate stays at its bound, below its own interval."""
    falling = [LossPoint(str(size), size, 1e8, 1e8, 6 - 0.4 * rank**1.5) for rank, size in enumerate(SIZES)]
    assert fit_scaling_law(falling) is None


def test_repeated_tokens_count_less() -> None:
    assert effective_tokens(50, 100) == 50
    gained = np.diff([effective_tokens(epochs * 100, 100) for epochs in range(1, 40)])
    assert (gained < 100).all() and (np.diff(gained) < 0).all() and (gained > 0).all()


def test_the_end_of_a_run_is_one_point_with_its_own_tokens() -> None:
    """Seeds sample other histories: the second one has seen fewer tokens than the size's entry says."""

    def cooldown(share: float, tokens: float, loss: float) -> CooldownLoss:
        return {"share": share, "tokens": tokens, "steps": 10, "validation_loss": loss}

    ends = ((cooldown(0.5, 500.0, 3.0), cooldown(1.0, 1000.0, 2.0)), (cooldown(1.0, 990.0, 2.1),), None)
    size = PretrainedSize(
        "1M", 10**6, tokens=1000.0, validation_loss_by_seed=(2.0, 2.1, 2.2), cooldowns_by_seed=ends
    )
    found = [(point.tokens, point.loss) for point in loss_points([size], 2.0)]
    assert found == [(500.0, 3.0), (990.0, 2.1), (1000.0, 2.0), (1000.0, 2.2)]
