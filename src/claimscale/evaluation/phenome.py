"""The phenome: verdicts on size for families of all outcomes, from the phenome cells of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claimscale.errors import BadInput
from claimscale.evaluation.families import (
    MIN_OUTCOMES,
    Family,
    OutcomeMetrics,
    OutcomeTable,
    evaluate_families,
    kind_interaction,
)
from claimscale.evaluation.intervals import Interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.variance_components import patient_degrees

FAMILIES = {"disease": "diseases", "medication": "medications", "procedure": "procedures"}
METRICS = ("auprc", "auroc", "log_loss")


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

    def metrics(self, name: Literal["auprc", "auroc"]) -> OutcomeMetrics:
        """AUPRC as its logarithm, or AUROC."""
        runs = self.runs
        seeds = {size: one.seeds for size, one in runs.items()}
        if name == "auprc":
            values = {size: np.log(one.auprc) for size, one in runs.items()}
            return OutcomeMetrics(seeds, values, {size: one.auprc_replicates for size, one in runs.items()})
        values = {size: one.auroc for size, one in runs.items()}
        return OutcomeMetrics(seeds, values, {size: one.auroc_replicates for size, one in runs.items()})

    def of_chapter(self, chapter: str) -> NDArray[np.intp]:
        return np.flatnonzero(np.array(self.chapters) == chapter)


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


def read_phenome(runs: Sequence[PhenomeRun], sizes: Sequence[str]) -> Phenome:
    """The phenome of all runs. Raises BadInput if two runs differ in outcomes."""
    tables = {run: pq.read_table(run.folder / "outcomes.parquet") for run in runs}
    named = ["code", "kind", "chapter", "cases", "at_risk"]
    first = next(iter(tables.values()))
    for run, table in tables.items():
        if not table.select(named).equals(first.select(named)):
            raise BadInput(f"{run.folder}: has other outcomes than {runs[0].folder}")
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


def evaluate_phenome(
    phenome: Phenome, parameters: Mapping[str, float], relative_margin: float, seed: int
) -> PhenomeEvaluation:
    """Verdicts of families and chapters, the interaction of kind and size, and the gain of each outcome.

    `parameters` by size.
    """
    table = OutcomeTable(
        phenome.metrics("auprc"),
        phenome.metrics("auroc"),
        phenome.cases,
        phenome.cases / phenome.at_risk,
        {size: parameters[size] for size in phenome.runs},
        True,
        seed,
    )
    kinds = {name: phenome.of_kind(kind) for kind, name in FAMILIES.items()}
    chapters = {chapter: phenome.of_chapter(chapter) for chapter in dict.fromkeys(phenome.chapters)}
    return PhenomeEvaluation(
        phenome,
        evaluate_families(table, kinds, relative_margin),
        evaluate_families(table, chapters, relative_margin),
        kind_interaction(table, kinds["diseases"], kinds["medications"]),
        _gains(table.log_metric, phenome, kinds.values()),
    )


def _gains(
    log_auprc: OutcomeMetrics, phenome: Phenome, kinds: Iterable[NDArray[np.intp]]
) -> tuple[OutcomeGain, ...]:
    """The gain of each outcome from the smallest to the largest size."""
    sizes = list(phenome.runs)
    ends = log_auprc.values[sizes[-1]].mean(0) - log_auprc.values[sizes[0]].mean(0)
    noise = log_auprc.deviations[sizes[-1]].mean(0) - log_auprc.deviations[sizes[0]].mean(0)
    variance, shrunk = noise.var(axis=1, dtype=np.float64), ends.copy()
    for own in kinds:
        if len(own) >= MIN_OUTCOMES:
            between = max(float(ends[own].var(ddof=1) - variance[own].mean()), 0.0)
            total = between + variance[own]
            share = np.divide(between, total, out=np.zeros(len(own)), where=total > 0)
            shrunk[own] = ends[own].mean() + share * (ends[own] - ends[own].mean())
    return tuple(
        OutcomeGain(
            Interval(float(ends[at]), float(variance[at]), 0.0, patient_degrees(int(cases)), 1),
            float(shrunk[at]),
        )
        for at, cases in enumerate(phenome.cases)
    )
