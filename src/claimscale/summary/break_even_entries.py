"""Entries of the summary about pretrained encoders against LightGBM, outcome by outcome, and the answer."""

from __future__ import annotations

import math

from claimscale.evaluation.break_even import Band, BreakEven, SizeAgainstLightgbm
from claimscale.evaluation.intervals import Interval
from claimscale.evaluation.phenome import Phenome
from claimscale.findings import Finding, finding
from claimscale.summary.entries import DifferenceEntry, EstimateEntry
from claimscale.summary.phenome_schema import (
    AgainstLightgbmEntry,
    BandEntry,
    LightgbmOutcomeEntry,
    PhenomeEntry,
)


def outcome_entries(phenome: Phenome, found: BreakEven) -> tuple[LightgbmOutcomeEntry, ...]:
    trees = found.lightgbm
    return tuple(
        LightgbmOutcomeEntry.model_validate(
            {
                "code": phenome.codes[place],
                "kind": phenome.kinds[place],
                "training_cases": int(trees.training_cases[at]),
                "auprc": float(trees.auprc[at]),
                "auroc": float(trees.auroc[at]),
                "gains": tuple(map(math.expm1, found.gains[:, at].tolist())),
            }
        )
        for at, place in enumerate(trees.places.tolist())
    )


def size_entries(found: BreakEven) -> tuple[AgainstLightgbmEntry, ...]:
    return tuple(_size_entry(size, one) for size, one in found.sizes.items())


def _size_entry(size: str, found: SizeAgainstLightgbm) -> AgainstLightgbmEntry:
    return AgainstLightgbmEntry(
        size=size,
        bands=tuple(map(_band_entry, found.bands)),
        gain=_relative(found.gain),
        per_tenfold=found.per_tenfold and EstimateEntry.model_validate(found.per_tenfold),
        break_even=found.cases and EstimateEntry.model_validate(found.cases),
        line=found.line,
    )


def _band_entry(band: Band) -> BandEntry:
    return BandEntry.model_validate({**vars(band), "gain": _relative(band.gain)})


def _relative(gain: Interval) -> DifferenceEntry:
    """The interval of a logarithm as that of a relative gain."""
    low, high = map(math.expm1, gain.two_sided())
    return DifferenceEntry(difference=math.expm1(gain.estimate), low=low, high=high)


def break_even_text(phenome: PhenomeEntry) -> Finding | None:
    """Below how many cases the largest encoder outperforms LightGBM; None if it was not compared."""
    if not phenome.against_lightgbm:
        return None
    largest = phenome.against_lightgbm[-1]
    shown = {"size": largest.size, "n": len(phenome.lightgbm)}
    if largest.break_even is not None:
        cases = {"cases": largest.break_even.estimate}
        bounds = {"low": largest.break_even.low, "high": largest.break_even.high}
        return finding("break_even.at", **shown, **cases, **bounds)
    gain = largest.gain
    shown |= {"gain": gain.difference, "low": gain.low, "high": gain.high}
    if gain.low is None or gain.high is None or gain.low <= 0 <= gain.high:
        return finding("break_even.open", **shown)
    return finding("break_even.encoder" if gain.low > 0 else "break_even.lightgbm", **shown)
