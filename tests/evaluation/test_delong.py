"""DeLong's variance equals its definition, agrees with the bootstrap, and covers the truth."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from claimscale.evaluation.bootstrap import Ranking, Resamples, replicate_rankings
from claimscale.evaluation.delong import PairedAurocs, covariance, placements
from claimscale.evaluation.intervals import Scores, difference, interval
from claimscale.evaluation.predictions import CellResult, SplitPredictions
from claimscale.evaluation.scoring import Model


def direct(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and covariance pair by pair, as DeLong 1988 defines them."""
    wins = np.array(
        [
            [[1.0 if p > n else 0.5 if p == n else 0.0 for n in own[~labels]] for p in own[labels]]
            for own in scores
        ]
    )
    of_positives, of_negatives = wins.mean(axis=2), wins.mean(axis=1)
    found = np.atleast_2d(np.cov(of_positives)) / labels.sum()
    return wins.mean(axis=(1, 2)), found + np.atleast_2d(np.cov(of_negatives)) / (~labels).sum()


@settings(max_examples=60, deadline=None)
@given(
    positives=st.integers(2, 15),
    negatives=st.integers(2, 40),
    levels=st.integers(1, 30),
    seed=st.integers(0, 10_000),
)
def test_equals_the_definition(positives: int, negatives: int, levels: int, seed: int) -> None:
    """With ties within and across classes, three models at once."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(positives + negatives) < positives)
    scores = generator.integers(levels, size=(3, len(labels))) / levels
    areas, found = covariance(labels, scores)
    expected_areas, expected = direct(labels, scores)
    assert areas == pytest.approx(expected_areas, abs=1e-12)
    assert areas == pytest.approx([roc_auc_score(labels, own) for own in scores], abs=1e-12)
    assert found == pytest.approx(expected, abs=1e-12)


def test_means_of_placements_are_the_area_in_both_classes() -> None:
    labels, risks = study(patients=300, seed=1)
    placed = placements(labels, risks[0])
    area = roc_auc_score(labels, risks[0])
    assert placed[labels].mean() == pytest.approx(area) and placed[~labels].mean() == pytest.approx(area)


def test_agrees_with_the_bootstrap_of_a_paired_difference() -> None:
    """Within the error of 2,000 replicates. The patient part is a small difference of two larger variances,
    and less certain."""
    labels, risks = study(patients=4000, seed=2)
    areas = roc_areas(labels, risks)
    _, auroc = replicate_rankings(
        Resamples(4000, 2000, 0), [Ranking.of(labels, own, np.arange(4000)) for own in risks]
    )
    sizes = [
        Scores((1, 2, 3), areas.aurocs[begin : begin + 3], auroc[begin : begin + 3], areas.positives)
        for begin in (0, 3)
    ]
    gain = difference(sizes[1], sizes[0])
    assert gain is not None
    resampled, found = interval(gain), areas.contrast({LARGE: 1, SMALL: -1})
    assert found is not None and found.estimate == pytest.approx(resampled.estimate, abs=1e-12)
    assert found.seed_variance == pytest.approx(resampled.seed_variance)
    assert found.bootstrap_variance**0.5 == pytest.approx(resampled.bootstrap_variance**0.5, rel=0.05)
    assert found.standard_error == pytest.approx(resampled.standard_error, rel=0.15)
    assert areas.matrix == pytest.approx(np.cov(auroc), rel=0.08)
    alone = areas.contrast({LARGE: 1})
    assert alone is not None
    assert found.standard_error < 0.7 * alone.standard_error, "paired: models err alike"


def test_intervals_cover_the_true_difference() -> None:
    """Binormal scores, whose areas are known: Phi(separation / sqrt 2)."""
    truth = stats.norm.cdf(1.3 / 2**0.5) - stats.norm.cdf(1.0 / 2**0.5)
    covered = []
    for seed in range(400):
        found = roc_areas(*study(patients=1500, seed=seed)).contrast({LARGE: 1, SMALL: -1})
        assert found is not None
        low, high = found.two_sided()
        covered.append(low <= truth <= high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_rows_of_one_patient_count_as_one() -> None:
    """Every patient twice with the same row: no more certain than once."""
    labels, risks = study(patients=500, seed=3)
    areas, once = covariance(labels, risks)
    twice_areas, twice = covariance(np.tile(labels, 2), np.tile(risks, 2), np.tile(np.arange(500), 2))
    assert twice_areas == pytest.approx(areas) and twice == pytest.approx(once)
    _, apart = covariance(np.tile(labels, 2), np.tile(risks, 2))
    assert (np.diag(apart) < 0.6 * np.diag(once)).all()


def test_units_with_both_outcomes_vary_together() -> None:
    """Patients whose risk rises and outcome follows: rows of both classes in a unit, against resampled
    units."""
    generator = np.random.default_rng(4)
    unit = np.repeat(np.arange(400), 4)
    liking = generator.normal(size=400)[unit]
    labels = liking + generator.normal(size=1600) > 1.0
    risks = (0.5 * liking + 0.6 * labels + generator.normal(size=(2, 1600))) / 2
    _, found = covariance(labels, risks, unit)
    _, auroc = replicate_rankings(
        Resamples(1600, 2000, 0, unit), [Ranking.of(labels, own, np.arange(1600)) for own in risks]
    )
    assert np.diag(found) == pytest.approx(auroc.var(axis=1), rel=0.12)


def test_nothing_to_compare_gives_no_interval() -> None:
    labels, risks = study(patients=100, seed=5)
    areas = roc_areas(labels, risks)
    assert areas.contrast({LARGE: 1, Model("scratch", "1M", "all"): -1}) is None
    one = np.zeros(100, dtype=bool)
    one[3] = True
    assert PairedAurocs.of(predictions(one, risks)) is None


SMALL, LARGE = Model("pretrained", "1M", "all"), Model("pretrained", "10M", "all")


def study(patients: int, seed: int, spread: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Two sizes, three seeds each, separations 1.0 and 1.3; seeds differ by `spread` in separation."""
    generator = np.random.default_rng(seed)
    labels = generator.random(patients) < 0.15
    common = generator.normal(size=patients)
    risks = [
        np.sqrt(0.8) * common
        + np.sqrt(0.2) * generator.normal(size=patients)
        + (separation + spread * generator.normal()) * labels
        for separation in (1.0, 1.0, 1.0, 1.3, 1.3, 1.3)
    ]
    return labels, np.array(risks)


def predictions(labels: np.ndarray, risks: np.ndarray) -> SplitPredictions:
    cells = tuple(
        CellResult("ckd", model.arm, model.size, 100, "all", seed, Path("none"), 1.0)
        for model in (SMALL, LARGE)
        for seed in (1, 2, 3)
    )
    days = np.zeros(len(labels), dtype="datetime64[us]")
    return SplitPredictions(cells, np.arange(len(labels)), days, labels, risks)


def roc_areas(labels: np.ndarray, risks: np.ndarray) -> PairedAurocs:
    found = PairedAurocs.of(predictions(labels, risks))
    assert found is not None
    return found
