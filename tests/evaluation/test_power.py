"""The power analysis against closed forms and against simulated studies."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from claimscale.evaluation import power
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.power import Assumptions, Components
from claimscale.evaluation.size_decision import MIN_POSITIVES, SizeCurve, decide

USUAL = Assumptions(auprc=0.35, prevalence=0.05)


def test_influence_is_the_derivative_of_average_precision() -> None:
    generator = np.random.default_rng(0)
    labels, weights = generator.random(200) < 0.2, np.ones(200)
    scores = labels + generator.normal(size=200)
    found, area = power.influence(labels, scores, weights)
    before = average_precision_score(labels, scores)
    assert area == pytest.approx(before, abs=1e-12)
    for patient in (0, 17, int(np.flatnonzero(labels)[0]), int(np.argmax(scores))):
        heavier = weights.copy()
        heavier[patient] += 1e-6
        after = average_precision_score(labels, scores, sample_weight=heavier)
        assert found[patient] == pytest.approx((after - before) / 1e-6, abs=1e-5)
    assert found.sum() == pytest.approx(0, abs=1e-12), "weights all alike change nothing"


@pytest.mark.parametrize("prevalence", [0.01, 0.2])
def test_separation_gives_the_requested_auprc(prevalence: float) -> None:
    generator = np.random.default_rng(1)
    separation = power.separation_for(0.4, prevalence)
    labels = generator.random(200_000) < prevalence
    scores = separation * labels + generator.normal(size=len(labels))
    assert average_precision_score(labels, scores) == pytest.approx(0.4, abs=0.03)
    assert power.expected_auprc(0.0, prevalence) == pytest.approx(prevalence, rel=1e-3)


def test_few_positives_vary_as_in_studies_of_that_size() -> None:
    """Relative to the AUPRC that such studies measure, which is higher than with many positives."""
    assumed = Assumptions(0.5, 0.2)
    parts, generator = power.components(assumed), np.random.default_rng(2)
    labels, separation = np.arange(250) < 50, power.separation_for(0.5, 0.2)
    measured = []
    for _ in range(3000):
        common = np.sqrt(assumed.between_sizes) * generator.normal(size=250) + separation * labels
        own = np.sqrt(1 - assumed.between_sizes) * generator.normal(size=(2, 250))
        measured.append([power.influence(labels, common + noise, np.ones(250))[1] for noise in own])
    auprc = np.array(measured)
    found = np.var((auprc[:, 1] - auprc[:, 0]) / auprc.mean()) * 50
    few = parts.at(50)
    assert found == pytest.approx(few.shared + few.within, rel=0.08)
    assert parts.shared + parts.within > 1.1 * found
    many = parts.at(100_000)
    assert many.shared + many.within == pytest.approx(parts.shared + parts.within, rel=0.001)


def test_power_grows_with_patients_seeds_and_margin() -> None:
    parts = power.components(USUAL)
    by_positives = [power.power(parts, positives, 3, 0.05) for positives in (200, 1000, 5000)]
    assert by_positives == sorted(by_positives) and by_positives[0] < 0.5 < 0.9 < by_positives[-1]
    assert power.power(parts, 1000, 2, 0.05) < power.power(parts, 1000, 5, 0.05)
    assert power.resolvable(parts, 4000, 3) < power.resolvable(parts, 1000, 3)
    assert power.power(parts, 10**6, 1, 0.5) == 0


def test_too_few_positives_have_no_power() -> None:
    parts = power.components(USUAL)
    promised = [power.power(parts, positives, 3, 0.2) for positives in (1, 10, MIN_POSITIVES - 1)]
    assert promised == [0, 0, 0] and power.power(parts, MIN_POSITIVES, 3, 0.5) > 0
    assert power.resolvable(parts, MIN_POSITIVES - 1, 3) == np.inf
    needed = power.positives_for(parts, 3, 0.9)
    assert needed == MIN_POSITIVES
    assert power.interaction_power([(parts, 0)], [(parts, 400)], 3, 0.5) == 0


def test_resolvable_margins_are_met_in_80_percent() -> None:
    parts = power.components(USUAL)
    margin = power.resolvable(parts, 1500, 3)
    assert power.power(parts, 1500, 3, margin) == pytest.approx(0.8, abs=0.01)
    needed = power.positives_for(parts, 3, margin)
    assert needed is not None and needed == pytest.approx(1500, rel=0.05)


def test_irreducible_variance_needs_seeds_not_patients() -> None:
    parts = power.components(Assumptions(0.35, 0.05, seed_spread=0.02))
    assert power.positives_for(parts, 3, 0.02) is None


def test_promised_power_is_reached(simulated_models: Callable[..., dict[str, Scores]]) -> None:
    """Normal data with the assumed variances, decided by the rule of the report."""
    parts, positives, seeds = power.components(USUAL), 1200, 3
    margin = power.resolvable(parts, positives, seeds)
    generator = np.random.default_rng(3)
    called = []
    for _ in range(300):
        sizes = {}
        for name in ("1M", "3M"):
            # a patient part that runs share, one that they do not, and what is left on endless patients
            shared, within = (np.sqrt(part / positives / 2) for part in (parts.shared, parts.within))
            value = 0.35 * (1 + shared * generator.normal() + within * generator.normal(size=seeds))
            value = value + 0.35 * np.sqrt(parts.lasting) * generator.normal(size=seeds)
            noise = shared * generator.normal(size=(1, 200)) + within * generator.normal(size=(seeds, 200))
            sizes[name] = Scores((1, 2, 3), value, value[:, None] + 0.35 * noise, positives)
        called.append(
            decide({"ckd": SizeCurve(sizes, 0.05, positives)}, margin)["ckd"].verdict == "saturated"
        )
    assert np.mean(called) == pytest.approx(0.8, abs=0.08)


def test_interaction_is_seldom_shown_where_there_is_none() -> None:
    task = power.components(USUAL), 400
    powers = [power.interaction_power([task] * 2, [task] * 2, 3, effect) for effect in (0.0, 0.1, 0.3)]
    assert powers[0] <= 0.06 and powers == sorted(powers) and powers[-1] > 0.9


NOTHING = Components(shared=0.0, within=0.0, common=0.0, lasting=0.0, weight=0.01)


def test_runs_that_happen_to_agree_do_not_raise_power() -> None:
    """Two runs that err on different patients may happen to agree; the bound still includes the bootstrap."""
    met = power.margins_met(replace(NOTHING, within=1.0), 10_000, 2, 0.05)
    assert met.min() > 1.6 * np.sqrt(1.0 / 2 / 10_000) * 0.95


def test_the_margin_itself_varies_with_the_largest_model() -> None:
    met = power.margins_met(replace(NOTHING, common=1.0), 10_000, 3, 0.5)
    assert np.quantile(met, 0.8) > 0.5 * np.sqrt(1.0 / 10_000)


def test_a_large_relative_gain_varies_less() -> None:
    """Simulated 1 - s / t, whose smaller model reaches 70 %, against the promised power."""
    effect, positives, spread = 0.3, 400, 0.2
    generator = np.random.default_rng(4)
    ratio = (1 - effect) * (1 + spread * generator.normal(size=200_000))
    # A quarter of the positives are the degrees of freedom of a variance over patients.
    degrees = positives / 4
    own = (1 - effect) * spread * np.sqrt(generator.chisquare(degrees, size=len(ratio)) / degrees)
    shown = np.mean(np.abs(1 - ratio) > stats.t.ppf(0.975, degrees) * own)
    parts = replace(NOTHING, shared=spread**2 * positives)
    promised = power.interaction_power([(parts, positives)], [(NOTHING, positives)], 3, effect)
    assert promised == pytest.approx(shown, abs=0.03)
