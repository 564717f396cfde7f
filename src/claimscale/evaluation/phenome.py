"""Families of outcomes: verdicts on size for diseases, medications and procedures, from all their outcomes.

One outcome has a few hundred cases and decides little. The mean over the outcomes of a family decides more,
for the same patients and runs. AUPRC is averaged as a geometric mean, so that a gain is a share of each
outcome's own AUPRC, and common outcomes do not outweigh rare ones.

Three things vary: patients, runs, and outcomes. Other outcomes of the same kind would gain otherwise. What
outcomes add beyond the noise of patients is estimated by moments, as in a random-effects meta-analysis
(DerSimonian & Laird 1986, doi 10.1016/0197-2456(86)90046-2), jointly for all sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats

from claimscale.errors import BadInput
from claimscale.evaluation.intervals import Interval, Scores, combine, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.size_decision import SizeCurve, Verdict, decide

MIN_OUTCOMES = 3
"""A claim about a family needs at least so many outcomes."""
FAMILIES = {"disease": "diseases", "medication": "medications", "procedure": "procedures"}
METRICS = ("auprc", "auroc", "log_loss")
MIN_AUROC = 1e-3
"""AUROCs are clipped this far from 0 and 1 before they become d'."""


class PhenomeRun(NamedTuple):
    """One pretraining and where its phenome was written."""

    size: str
    seed: int
    folder: Path


@dataclass(frozen=True)
class SizeRuns:
    """The runs of one size (k) on all outcomes (K) and replicates (B).

    Attributes:
        auprc, auroc, log_loss: float64 [k, K].
        auprc_replicates: relative deviations, float32 [k, K, B].
        auroc_replicates: deviations, float32 [k, K, B].
    """

    seeds: tuple[int, ...]
    auprc: Floats
    auroc: Floats
    log_loss: Floats
    auprc_replicates: NDArray[np.float32]
    auroc_replicates: NDArray[np.float32]


@dataclass(frozen=True)
class Phenome:
    """All outcomes (K) with the runs of each size, ascending."""

    codes: tuple[str, ...]
    kinds: tuple[str, ...]
    chapters: tuple[str, ...]
    cases: NDArray[np.int64]
    at_risk: NDArray[np.int64]
    runs: Mapping[str, SizeRuns]

    def of_kind(self, kind: str) -> NDArray[np.intp]:
        return np.flatnonzero(np.array(self.kinds) == kind)

    def of_chapter(self, chapter: str) -> NDArray[np.intp]:
        return np.flatnonzero(np.array(self.chapters) == chapter)


@dataclass(frozen=True)
class Family:
    """The results of one family.

    Attributes:
        outcomes: places of its outcomes.
        curve: geometric mean of AUPRC by size.
        auroc: mean AUROC by size.
        per_doubling: relative gain of AUPRC per doubling of the parameters.
    """

    name: str
    outcomes: NDArray[np.intp]
    curve: SizeCurve
    auroc: Mapping[str, Scores]
    verdict: Verdict
    as_trained: Verdict
    per_doubling: Interval | None


@dataclass(frozen=True)
class OutcomeGain:
    """What one outcome gains from the smallest size to the largest, as a share of its AUPRC.

    `shrunk` is the gain shrunken towards the mean of its family by as much as patients leave it uncertain.
    """

    gain: Interval
    shrunk: float


@dataclass(frozen=True)
class PhenomeEvaluation:
    """The results of the phenome. `interaction` is how much more d' diseases gain per doubling than
    medications; None where it cannot be tested."""

    phenome: Phenome
    families: tuple[Family, ...]
    chapters: tuple[Family, ...]
    interaction: Interval | None
    gains: tuple[OutcomeGain, ...]


def read_phenome(runs: Sequence[PhenomeRun], sizes: Sequence[str]) -> Phenome | None:
    """The phenome of all runs; None without any outcome. Raises BadInput if two runs differ in outcomes."""
    tables = {run: pq.read_table(run.folder / "outcomes.parquet") for run in runs}
    named = ["code", "kind", "chapter", "cases", "at_risk"]
    first = next(iter(tables.values()))
    for run, table in tables.items():
        if not table.select(named).equals(first.select(named)):
            raise BadInput(f"{run.folder}: has other outcomes than {runs[0].folder}")
    if not len(first):
        return None
    by_size = {}
    for size in sizes:
        own = sorted((run for run in runs if run.size == size), key=lambda run: run.seed)
        if own:
            columns = (np.array([tables[run][name].to_numpy() for run in own]) for name in METRICS)
            replicates = np.stack([np.load(run.folder / "replicates.npy") for run in own], axis=1)
            by_size[size] = SizeRuns(tuple(run.seed for run in own), *columns, *replicates)
    codes, kinds, chapters = (tuple(first[name].to_pylist()) for name in named[:3])
    cases, at_risk = (first[name].to_numpy() for name in named[3:])
    return Phenome(codes, kinds, chapters, cases, at_risk, by_size)


@dataclass(frozen=True)
class Scale:
    """A metric of outcomes on a scale on which they are averaged: values [k, K] and deviations [k, K, B]."""

    values: Mapping[str, Floats]
    deviations: Mapping[str, NDArray[np.float32]]
    seeds: Mapping[str, tuple[int, ...]]

    @classmethod
    def log_auprc(cls, phenome: Phenome) -> Scale:
        runs = phenome.runs
        values = {size: np.log(one.auprc) for size, one in runs.items()}
        deviations = {size: one.auprc_replicates for size, one in runs.items()}
        return cls(values, deviations, {size: one.seeds for size, one in runs.items()})

    @classmethod
    def auroc(cls, phenome: Phenome) -> Scale:
        runs = phenome.runs
        deviations = {size: one.auroc_replicates for size, one in runs.items()}
        values = {size: one.auroc for size, one in runs.items()}
        return cls(values, deviations, {size: one.seeds for size, one in runs.items()})

    @classmethod
    def d_prime(cls, phenome: Phenome) -> Scale:
        """d' = sqrt(2) * probit(AUROC), on which neither prevalence nor a ceiling bends a gain."""
        values, deviations = {}, {}
        for size, one in phenome.runs.items():
            probit = stats.norm.ppf(one.auroc.clip(MIN_AUROC, 1 - MIN_AUROC))
            slope = math.sqrt(2) / stats.norm.pdf(probit)
            values[size] = math.sqrt(2) * probit
            deviations[size] = one.auroc_replicates * slope[:, :, None].astype(np.float32)
        return cls(values, deviations, {size: one.seeds for size, one in phenome.runs.items()})

    def mean(self, outcomes: NDArray[np.intp], cases: int, seed: int) -> dict[str, Scores]:
        """The mean over some outcomes by size; patients, runs and outcomes vary."""
        effects = self._outcome_effects(outcomes, seed)
        found = {}
        for place, size in enumerate(self.values):
            values = self.values[size][:, outcomes].mean(1)
            deviations = self.deviations[size][:, outcomes].mean(1, dtype=np.float64)
            replicates = values[:, None] + deviations + effects[place]
            found[size] = Scores(self.seeds[size], values, replicates, cases)
        return found

    def _outcome_effects(self, outcomes: NDArray[np.intp], seed: int) -> Floats:
        """Replicates of what the choice of outcomes adds to the mean of each size, float64 [sizes, B].

        The covariance over outcomes, less what patients contribute to it, divided by the number of outcomes.
        """
        means = np.stack([values[:, outcomes].mean(0) for values in self.values.values()])
        noise = np.stack([d[:, outcomes].mean(0) for d in self.deviations.values()])  # [sizes, outcomes, B]
        by_patients = np.einsum("sob,tob->st", noise, noise) / (noise.shape[1] * noise.shape[2])
        between = np.atleast_2d(np.cov(means)) - by_patients
        roots, vectors = np.linalg.eigh(between / len(outcomes))
        half = vectors * np.sqrt(roots.clip(0))
        draws = np.random.default_rng([seed, len(outcomes)]).standard_normal((len(means), noise.shape[2]))
        return half @ draws


def evaluate_phenome(
    phenome: Phenome, parameters: Mapping[str, int], relative_margin: float, seed: int
) -> PhenomeEvaluation:
    """Verdicts of families and chapters, the interaction of kind and size, and the gain of each outcome.

    `parameters` by size.
    """
    evaluator = _Evaluator(phenome, parameters, relative_margin, seed)
    kinds = {name: phenome.of_kind(kind) for kind, name in FAMILIES.items()}
    chapters = {chapter: phenome.of_chapter(chapter) for chapter in dict.fromkeys(phenome.chapters)}
    return PhenomeEvaluation(
        phenome,
        evaluator.families(kinds),
        evaluator.families(chapters),
        evaluator.interaction(kinds),
        evaluator.gains(kinds),
    )


@dataclass(frozen=True)
class _Evaluator:
    phenome: Phenome
    parameters: Mapping[str, int]
    relative_margin: float
    seed: int

    @cached_property
    def log_auprc(self) -> Scale:
        return Scale.log_auprc(self.phenome)

    @cached_property
    def auroc(self) -> Scale:
        return Scale.auroc(self.phenome)

    def families(self, members: Mapping[str, NDArray[np.intp]]) -> tuple[Family, ...]:
        """The families with enough outcomes, decided together."""
        members = {name: own for name, own in members.items() if len(own) >= MIN_OUTCOMES}
        curves = {name: self.curve(own) for name, own in members.items()}
        verdicts = decide(curves, self.relative_margin)
        as_trained = decide(curves, self.relative_margin, "trained_models")
        return tuple(
            Family(
                name,
                own,
                curves[name],
                self.auroc.mean(own, self.cases(own), self.seed),
                verdicts[name],
                as_trained[name],
                self.per_doubling(self.log_auprc.mean(own, self.cases(own), self.seed)),
            )
            for name, own in members.items()
        )

    def cases(self, outcomes: NDArray[np.intp]) -> int:
        return int(self.phenome.cases[outcomes].sum())

    def curve(self, outcomes: NDArray[np.intp]) -> SizeCurve:
        """The geometric mean of AUPRC over some outcomes, by size."""
        logs = self.log_auprc.mean(outcomes, self.cases(outcomes), self.seed)
        scores = {
            size: Scores(one.seeds, np.exp(one.values), np.exp(one.replicates), one.positives)
            for size, one in logs.items()
        }
        prevalence = self.phenome.cases[outcomes] / self.phenome.at_risk[outcomes]
        return SizeCurve(scores, float(np.exp(np.log(prevalence).mean())), self.cases(outcomes))

    def weights(self) -> Floats:
        """Weights of the sizes in the slope over the logarithm (base 2) of their parameters."""
        doublings = np.log2([self.parameters[size] for size in self.phenome.runs])
        centred = doublings - doublings.mean()
        return centred / (centred @ centred)

    def per_doubling(self, means: Mapping[str, Scores]) -> Interval | None:
        """The slope of a mean over doublings of the parameters; None with one size or one seed."""
        if len(means) < 2:
            return None
        weights = self.weights()
        slope = combine(lambda *values: np.tensordot(weights, np.stack(values), axes=1), *means.values())
        return None if slope is None or len(slope.seeds) < 2 else interval(slope)

    def interaction(self, members: Mapping[str, NDArray[np.intp]]) -> Interval | None:
        """How much more d' diseases gain per doubling than medications; both share patients and runs."""
        kinds = [members["diseases"], members["medications"]]
        if min(map(len, kinds)) < MIN_OUTCOMES or len(self.phenome.runs) < 2:
            return None
        scale, sizes = Scale.d_prime(self.phenome), list(self.phenome.runs)
        means = [scale.mean(own, self.cases(own), self.seed + place) for place, own in enumerate(kinds)]
        weights = np.concatenate([self.weights(), -self.weights()])
        slope = combine(
            lambda *values: np.tensordot(weights, np.stack(values), axes=1),
            *(mean[size] for mean in means for size in sizes),
            models=sizes * 2,
        )
        return None if slope is None or len(slope.seeds) < 2 else interval(slope)

    def gains(self, members: Mapping[str, NDArray[np.intp]]) -> tuple[OutcomeGain, ...]:
        """The gain of each outcome from the smallest to the largest size."""
        sizes = list(self.phenome.runs)
        scale, count = self.log_auprc, len(self.phenome.codes)
        ends = scale.values[sizes[-1]].mean(0) - scale.values[sizes[0]].mean(0)
        noise = scale.deviations[sizes[-1]].mean(0) - scale.deviations[sizes[0]].mean(0)
        variance = noise.var(axis=1, dtype=np.float64)
        shrunk = ends.copy()
        for own in members.values():
            if len(own) >= MIN_OUTCOMES:
                between = max(float(ends[own].var(ddof=1) - variance[own].mean()), 0.0)
                share = between / (between + variance[own])
                shrunk[own] = ends[own].mean() + share * (ends[own] - ends[own].mean())
        degrees = [max(cases / 4, 1.0) for cases in self.phenome.cases]
        return tuple(
            OutcomeGain(
                Interval(float(ends[at]), float(variance[at]), 0.0, degrees[at], 1), float(shrunk[at])
            )
            for at in range(count)
        )
