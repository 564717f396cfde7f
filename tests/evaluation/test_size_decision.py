"""Verdicts on simulated curves whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest

from claimscale.evaluation.intervals import Interval, Scores
from claimscale.evaluation.size_decision import (
    MIN_POSITIVES,
    Comparison,
    SizeCurve,
    Verdict,
    decide,
    holm_alphas,
)

SimulatedModels = Callable[..., dict[str, Scores]]
MARGIN = 0.02
FLAT = {"1M": 0.3, "3M": 0.3, "10M": 0.3}


def curve(models: dict[str, Scores], chance: float = 0.25) -> SizeCurve:
    return SizeCurve(models, chance, next(iter(models.values())).positives)


def exact_curve(values: list[float], spread: float = 1e-4, positives: int = 500, seeds: int = 2) -> SizeCurve:
    """Sizes with the given metric and nearly no uncertainty, patients' noise shared by the seeds of a
    size."""
    replicates = np.random.default_rng(0).normal(0, spread, size=(len(values), 1, 400))
    replicates = np.repeat(replicates, seeds, axis=1)
    scores = {
        f"{index + 1}M": Scores(
            tuple(range(seeds)), np.full(seeds, value), value + replicates[index], positives
        )
        for index, value in enumerate(values)
    }
    return SizeCurve(scores, chance=0.1, positives=positives)


def verdict(one: SizeCurve) -> Verdict:
    return decide({"ckd": one}, MARGIN)["ckd"]


def test_flat_curve_with_much_data_saturates_at_the_smallest(simulated_models: SimulatedModels) -> None:
    verdicts = [verdict(curve(simulated_models(FLAT, seed=seed, patients=20_000))) for seed in range(5)]
    assert sum(found.smallest_sufficient == "1M" for found in verdicts) >= 4


def test_a_gain_of_three_margins_is_never_saturated(
    simulated_models: SimulatedModels,
) -> None:
    """At any sample size: want of data must not look like equality."""
    noise = {"1M": 0.85, "10M": 0.3}
    truth = simulated_models(noise, seed=999, patients=100_000, replicates=2)
    gain = truth["10M"].values.mean() - truth["1M"].values.mean()
    assert gain > 3 * MARGIN * truth["10M"].values.mean()
    for patients in (300, 1500):
        wrong = [
            verdict(curve(simulated_models(noise, seed=seed, patients=patients, replicates=100))).verdict
            == "saturated"
            for seed in range(80)
        ]
        assert np.mean(wrong) <= 0.05
    found = verdict(curve(simulated_models(noise, seed=1, patients=20_000)))
    assert found.verdict == "not_saturated" and found.smallest_sufficient is None


def test_at_the_margin_itself_the_error_rate_holds(simulated_models: SimulatedModels) -> None:
    """The hardest case: a gain equal to the margin is called sufficient in about 5 % of studies."""
    noise = {"1M": 0.57, "10M": 0.3}
    truth = simulated_models(noise, seed=999, patients=100_000, seeds=5, replicates=2)
    gain = truth["10M"].values.mean() - truth["1M"].values.mean()
    margin = gain / truth["10M"].values.mean()
    called = [
        decide({"ckd": curve(simulated_models(noise, seed=seed, patients=2000, replicates=100))}, margin)[
            "ckd"
        ].verdict
        for seed in range(150)
    ]
    assert called.count("saturated") / 150 <= 0.10
    assert called.count("not_saturated") / 150 <= 0.10


def test_small_sample_is_inconclusive_and_says_how_many_positives(simulated_models: SimulatedModels) -> None:
    found = verdict(curve(simulated_models(FLAT, seed=2, patients=400)))
    assert found.verdict == "inconclusive" and found.reason == "underpowered"
    assert found.positives_needed is not None and found.positives_needed > 400


def test_the_needed_number_of_positives_decides(simulated_models: SimulatedModels) -> None:
    """Two sizes, truly equal: with that many positives about 80 % of studies say saturated."""
    noise = {"1M": 0.5, "10M": 0.5}
    estimates, positives = [], []
    for seed in range(40):
        one = curve(simulated_models(noise, seed=seed, patients=600, seeds=5))
        estimates.append(verdict(one).positives_needed or np.inf)
        positives.append(one.positives)
    needed = float(np.median(estimates))
    assert needed > 2 * np.mean(positives)
    patients = int(600 * needed / np.mean(positives))
    called = [
        verdict(
            curve(simulated_models(noise, seed=100 + seed, patients=patients, seeds=5, replicates=100))
        ).verdict
        for seed in range(40)
    ]
    assert 0.6 <= called.count("saturated") / 40 <= 0.97


def test_stops_at_the_first_size_that_fails() -> None:
    """1M equals the largest, but 3M is far worse: nothing below 3M is reached."""
    found = verdict(exact_curve([0.40, 0.30, 0.40, 0.40]))
    assert (found.verdict, found.smallest_sufficient) == ("saturated", "3M")


def test_a_size_must_suffice_against_every_larger_one() -> None:
    """2M is as good as the largest, 4M, yet 3M beats it."""
    found = verdict(exact_curve([0.40, 0.40, 0.45, 0.40]))
    assert found.smallest_sufficient == "3M"


def test_small_steps_do_not_add_up_unnoticed() -> None:
    """Each step gains less than the margin of 0.008, two steps gain more: 1M fails against 3M."""
    found = verdict(exact_curve([0.389, 0.394, 0.400]))
    assert (found.verdict, found.smallest_sufficient) == ("saturated", "2M")


def test_comparisons_hold_every_pair_with_the_margin() -> None:
    found = verdict(exact_curve([0.39, 0.40, 0.40]))
    assert [(item.smaller, item.larger) for item in found.comparisons] == [
        ("2M", "3M"), ("1M", "3M"), ("1M", "2M"),
    ]  # fmt: skip
    assert found.margin == pytest.approx(0.4 * MARGIN)
    assert all(item.margin == found.margin for item in found.comparisons)
    assert found.comparisons[1].gain.estimate == pytest.approx(0.01)


def test_the_largest_is_not_advised_if_a_smaller_is_better() -> None:
    """3M gains over 2M, but 1M is best: size does not pay, and is not enough either."""
    found = verdict(exact_curve([0.50, 0.30, 0.40]))
    assert (found.verdict, found.reason) == ("inconclusive", "non_monotone")
    assert verdict(exact_curve([0.40, 0.30, 0.40])).verdict == "not_saturated", "1M is only as good"


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (exact_curve([0.4]), "one_size"),
        (exact_curve([0.4, 0.4], seeds=1), "one_seed"),
        (exact_curve([0.4, 0.4], positives=MIN_POSITIVES - 1), "few_positives"),
        (exact_curve([0.1, 0.1]), "not_above_chance"),
    ],
)
def test_equality_in_a_small_sample_is_never_saturated(unfit: SizeCurve, reason: str) -> None:
    """No differences at all, yet nothing that a verdict could rest on."""
    found = verdict(unfit)
    assert found.verdict == "inconclusive" and found.reason == reason


def test_equally_uninformative_models_are_not_saturated() -> None:
    constant = Scores((1, 2), np.full(2, 0.1), np.random.default_rng(0).normal(0.1, 0.01, (1, 300)), 100)
    same = Scores((1, 2), constant.values, np.repeat(constant.replicates, 2, axis=0), 100)
    assert verdict(SizeCurve({"1M": same, "3M": same}, 0.1, 100)).reason == "not_above_chance"


def test_borderline_gains_differ_from_underpowered_ones() -> None:
    """Plenty of data for equality, but the gain sits just inside the margin: only far more can decide."""
    found = verdict(exact_curve([0.3925, 0.40], spread=4e-4, positives=500, seeds=5))
    assert found.verdict == "inconclusive" and found.reason == "borderline"
    assert found.positives_needed is not None and found.positives_needed > 500


def test_small_samples_are_not_saturated_by_luck() -> None:
    """An estimate far below zero, from a sample too small to show that zero is within the margin."""
    excess = Interval(-0.03, patient_variance=1e-4, seed_variance=0.0, degrees=100.0, seeds=3)
    comparison = Comparison("1M", "3M", excess, 0.01, excess)
    assert excess.p_below(0.0) < 0.005 and comparison.p_sufficient > 0.1
    assert comparison.upper(0.95) == pytest.approx(1.66 * 0.01, rel=0.01), "above the margin"


def test_the_margin_moves_with_the_largest_model_itself() -> None:
    """(1 - m) t - s: the runs of the largest count once, not as two independent models."""
    margin, generator = 0.5, np.random.default_rng(0)
    larger, smaller = 0.4 + generator.normal(0, 0.01, 4), 0.35 + generator.normal(0, 0.01, 4)
    scores = {
        name: Scores((1, 2, 3, 4), values, np.repeat(values[:, None], 50, axis=1), 500)
        for name, values in (("1M", smaller), ("3M", larger))
    }
    (pair,) = decide({"ckd": SizeCurve(scores, 0.1, 500)}, margin)["ckd"].comparisons
    expected = ((1 - margin) ** 2 * larger.var(ddof=1) + smaller.var(ddof=1)) / 4
    assert pair.excess.seed_variance == pytest.approx(expected)


def test_signal_must_be_shown_not_estimated() -> None:
    """Every size is above the chance level, but by less than its standard error."""
    assert verdict(exact_curve([0.13, 0.13], spread=0.03)).reason == "not_above_chance"
    assert verdict(exact_curve([0.13, 0.13], spread=0.01)).reason != "not_above_chance"


def test_holm_alphas() -> None:
    assert holm_alphas({"a": [0.5], "b": [0.5]}, 0.05) == {"a": 0.025, "b": 0.025}
    assert holm_alphas({"a": [0.001], "b": [0.04]}, 0.05) == {"a": 0.025, "b": 0.05}
    # a family hands its share on only when all of its hypotheses have fallen
    assert holm_alphas({"a": [0.001, 0.5], "b": [0.04]}, 0.05) == {"a": 0.025, "b": 0.025}
    levels = holm_alphas({"a": [0.001], "b": [0.002], "c": [0.003]}, 0.06)
    assert sorted(levels.values()) == pytest.approx([0.02, 0.03, 0.06])


def test_more_tasks_lower_the_alpha_of_each() -> None:
    """One task passes at 5 %; beside nine hopeless ones it must pass at 0.5 %."""
    borderline = exact_curve([0.3955, 0.40], spread=1e-3)
    assert verdict(borderline).verdict == "saturated"
    hopeless = {f"task{index}": exact_curve([0.3, 0.4]) for index in range(9)}
    assert decide({"ckd": borderline, **hopeless}, MARGIN)["ckd"].verdict == "inconclusive"


def runs_that_differ(gain: float, seed: int, spread: float = 0.03, positives: int = 2000) -> SizeCurve:
    """Two sizes of three runs each; the means of the runs' true metrics differ by exactly `gain`.

    Patients add noise of their own to each run and some that all share; replicates repeat that noise.
    """
    random = np.random.default_rng(seed)
    truth = 0.3 * (1 + spread * random.normal(size=(2, 3, 1)))
    truth -= truth.mean(axis=1, keepdims=True) - 0.3
    truth[0] -= gain

    def noise(draws: int) -> np.ndarray:
        shared, own = random.normal(size=(1, 1, draws)), random.normal(size=(2, 3, draws))
        return 0.01 * shared + 0.003 * own

    found = truth + noise(1)
    replicates = found + noise(300)
    scores = {
        size: Scores((1, 2, 3), found[place, :, 0], replicates[place], positives)
        for place, size in enumerate(("1M", "10M"))
    }
    return SizeCurve(scores, 0.1, positives)


def trained_verdict(one: SizeCurve, margin: float = MARGIN) -> Verdict:
    return decide({"ckd": one}, margin, "trained_models")["ckd"]


def test_trained_models_have_a_verdict_where_runs_differ() -> None:
    """Patients are many and runs differ by 3 %: a retraining is open, the trained models are not."""
    assert verdict(runs_that_differ(0.0, 1)).verdict == "inconclusive"
    assert trained_verdict(runs_that_differ(0.0, 1)).smallest_sufficient == "1M"
    assert trained_verdict(runs_that_differ(0.03, 1)).verdict == "not_saturated"


def test_the_error_rate_of_trained_models_holds_at_the_margin() -> None:
    called = [
        trained_verdict(runs_that_differ(MARGIN * 0.3, seed)).verdict == "saturated" for seed in range(400)
    ]
    assert 0.02 <= np.mean(called) <= 0.08


def test_one_seed_decides_about_its_models_alone() -> None:
    one = exact_curve([0.3, 0.3], seeds=1)
    assert verdict(one).reason == "one_seed"
    assert trained_verdict(one).smallest_sufficient == "1M"


def test_few_positives_decide_nothing_in_either_scope() -> None:
    one = exact_curve([0.3, 0.3], positives=MIN_POSITIVES - 1)
    assert trained_verdict(one).reason == verdict(one).reason == "few_positives"


def test_the_seeds_that_are_needed_decide() -> None:
    """Runs of equal sizes differ by 1 %: with three seeds it is open, with the number named it is decided."""

    def study(seeds: int, seed: int) -> SizeCurve:
        random = np.random.default_rng(seed)
        values = 0.3 * (1 + 0.01 * random.normal(size=(2, seeds)))
        noise = 1e-4 * random.normal(size=(2, 1, 100))
        scores = {
            size: Scores(tuple(range(seeds)), values[place], values[place][:, None] + noise[place], 2000)
            for place, size in enumerate(("1M", "10M"))
        }
        return SizeCurve(scores, 0.1, 2000)

    first = [verdict(study(3, seed)) for seed in range(60)]
    needed = [found.seeds_needed for found in first if found.reason == "underpowered"]
    assert len(needed) > 10 and all(one is None or one > 3 for one in needed)
    typical = int(np.median([one for one in needed if one]))
    decided = [verdict(study(typical, 1000 + seed)).verdict == "saturated" for seed in range(100)]
    assert np.mean(decided) > 0.7


def test_seeds_do_not_help_where_patients_are_too_few() -> None:
    random = np.random.default_rng(0)
    noise = 0.05 * random.normal(size=(3, 1, 300)) + np.zeros((3, 2, 300))
    scores = {f"{n}M": Scores((1, 2), np.full(2, 0.3), 0.3 + noise[n], 200) for n in range(3)}
    found = verdict(SizeCurve(scores, 0.1, 200))
    assert found.reason == "underpowered" and found.seeds_needed is None and found.positives_needed
