"""Below how many training cases does a pretrained encoder outperform LightGBM?

The outcomes are those of the phenome for which LightGBM was trained. The gain of one is the logarithm of the
encoder's AUPRC over LightGBM's. Its mean is shown by bands of training cases, and a line over the logarithm
of the cases says where it crosses zero. Patients, runs and outcomes vary: outcomes and runs are resampled,
and patients by the multiplier replicates that all models share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claimscale.errors import BadInput
from claimscale.evaluation.families import MIN_OUTCOMES, OutcomeMetrics
from claimscale.evaluation.intervals import CONFIDENCE, Estimate, Interval, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.phenome import Phenome, SizeRuns

BAND_EDGES = (100, 300, 1000)
"""Training cases at which bands of outcomes begin."""
MIN_FOR_LINE = 10
"""A line is fitted over at least so many outcomes."""


@dataclass(frozen=True)
class LightgbmOutcomes:
    """LightGBM on K of the phenome's outcomes.

    Attributes:
        places: of the outcomes in the phenome, int64 [K].
        training_cases: int64 [K].
        auprc, auroc: float64 [K].
        replicates: relative deviations of AUPRC as patients vary, float32 [K, B].
    """

    places: NDArray[np.intp]
    training_cases: NDArray[np.int64]
    auprc: Floats
    auroc: Floats
    replicates: NDArray[np.float32]


@dataclass(frozen=True)
class Band:
    """Outcomes of a range of training cases: geometric means of AUPRC, and the gain (a logarithm)."""

    low: int
    high: int | None
    outcomes: int
    encoder: float
    lightgbm: float
    gain: Interval


@dataclass(frozen=True)
class SizeAgainstLightgbm:
    """One size against LightGBM.

    Attributes:
        gain: over all compared outcomes, a logarithm.
        per_tenfold: change of the gain per tenfold training cases; None for too few outcomes.
        cases: where the line crosses zero; None where it does not fall, or crosses outside of the outcomes.
        line: gain at the fewest and at the most training cases, by the line.
    """

    bands: tuple[Band, ...]
    gain: Interval
    per_tenfold: Estimate | None
    cases: Estimate | None
    line: tuple[float, float] | None


@dataclass(frozen=True)
class BreakEven:
    """Every size against LightGBM, and the gain of each compared outcome by size, float64 [sizes, K]."""

    lightgbm: LightgbmOutcomes
    sizes: Mapping[str, SizeAgainstLightgbm]
    gains: Floats


def read_lightgbm(folder: Path, phenome: Phenome) -> LightgbmOutcomes:
    """LightGBM's results. Raises BadInput if they are about other outcomes than the phenome's."""
    table = pq.read_table(folder / "outcomes.parquet")
    place_of = {code: place for place, code in enumerate(phenome.codes)}
    codes, cases = table["code"].to_pylist(), table["cases"].to_numpy()
    if not all(code in place_of for code in codes):
        raise BadInput(f"{folder}: has outcomes that the phenome lacks")
    places = np.array([place_of[code] for code in codes], np.intp)
    if not np.array_equal(phenome.cases[places], cases):
        raise BadInput(f"{folder}: is about other patients than the phenome")
    auprc, auroc, training = (table[name].to_numpy() for name in ("auprc", "auroc", "training_cases"))
    replicates = np.load(folder / "replicates.npy")[0]
    return LightgbmOutcomes(places, training, auprc, auroc, replicates)


def compare_with_lightgbm(phenome: Phenome, lightgbm: LightgbmOutcomes, seed: int) -> BreakEven | None:
    """Every size against LightGBM; None with too few outcomes."""
    if len(lightgbm.places) < MIN_OUTCOMES:
        return None
    gains = {size: _gains(runs, lightgbm) for size, runs in phenome.runs.items()}
    sizes = {size: _compared(phenome.runs[size], found, lightgbm, seed) for size, found in gains.items()}
    return BreakEven(lightgbm, sizes, np.stack([values.mean(0) for values, _ in gains.values()]))


def _gains(runs: SizeRuns, lightgbm: LightgbmOutcomes) -> tuple[Floats, NDArray[np.float32]]:
    """The gain of each run and outcome, float64 [k, K], and how patients change it, [k, K, B]."""
    own = lightgbm.places
    values = np.log(runs.auprc[:, own]) - np.log(lightgbm.auprc)
    return values, runs.auprc_replicates[:, own] - lightgbm.replicates


def _compared(
    runs: SizeRuns, gains: tuple[Floats, NDArray[np.float32]], lightgbm: LightgbmOutcomes, seed: int
) -> SizeAgainstLightgbm:
    values, deviations = gains
    metrics = OutcomeMetrics({"": runs.seeds}, {"": values}, {"": deviations})
    cases = lightgbm.training_cases

    def mean(outcomes: NDArray[np.intp]) -> Interval:
        return interval(metrics.mean(outcomes, int(cases[outcomes].sum()), True, seed)[""])

    bands = []
    for low, high in zip((0, *BAND_EDGES), (*BAND_EDGES, None), strict=True):
        inside = np.flatnonzero((cases >= low) & (cases < (high or np.inf)))
        if len(inside) >= MIN_OUTCOMES:
            encoder = float(np.exp(np.log(runs.auprc[:, lightgbm.places[inside]]).mean()))
            trees = float(np.exp(np.log(lightgbm.auprc[inside]).mean()))
            bands.append(Band(low, high, len(inside), encoder, trees, mean(inside)))
    slope, crossing, line = None, None, None
    if len(cases) >= MIN_FOR_LINE and cases.min() < cases.max():
        slope, crossing, line = _line(values, deviations, np.log10(cases), seed)
    return SizeAgainstLightgbm(tuple(bands), mean(np.arange(len(cases))), slope, crossing, line)


def _line(
    values: Floats, deviations: NDArray[np.float32], tens: Floats, seed: int
) -> tuple[Estimate, Estimate | None, tuple[float, float]]:
    """Slope per tenfold cases, the cases at which the line is zero, and the line's ends.

    `tens`: logarithm (base 10) of the training cases [K].
    """
    slope, level = _fit(tens, values.mean(0))
    slopes, levels = np.array(_resampled(values, deviations, tens, seed)).T
    tail = (1 - CONFIDENCE) / 2
    per_tenfold = Estimate(slope, *np.quantile(slopes, (tail, 1 - tail)).tolist())
    ends = level + slope * float(tens.min()), level + slope * float(tens.max())
    crosses = per_tenfold.high < 0 and ends[0] > 0 > ends[1]
    if not crosses:
        return per_tenfold, None, ends
    falling = slopes < 0
    bounds = np.quantile(-levels[falling] / slopes[falling], (tail, 1 - tail))
    cases = Estimate(*(float(10.0**at) for at in (-level / slope, *bounds)))
    return per_tenfold, cases, ends


def _resampled(
    values: Floats, deviations: NDArray[np.float32], tens: Floats, seed: int
) -> Sequence[tuple[float, float]]:
    """Slope and level of the line as runs, patients and outcomes vary, once per replicate of patients.

    Outcomes that are resampled carry the noise of their patients with them, and the shared part of it is
    added once more by the replicates: the intervals are rather too wide.
    """
    random = np.random.default_rng([seed, len(tens)])
    runs, outcomes = values.shape
    found = []
    for replicate in range(deviations.shape[2]):
        run, chosen = random.integers(0, runs, runs), random.integers(0, outcomes, outcomes)
        gain = values[run].mean(0) + deviations[run, :, replicate].mean(0)
        if np.ptp(tens[chosen]) > 0:
            found.append(_fit(tens[chosen], gain[chosen]))
    return found


def _fit(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and level at zero of the least-squares line."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())
