"""Validation of a package on countries that differ from the one of its training: do intervals hold the truth?

Twenty countries have other hospitals. There, every disease is more or less common, every diagnosis coded and
every drug given more or less often than where the package was made. All patients of a country are scored, and
are the population: its values are the truth. Forty samples of it, with replacement, are validated each. Its
recalibration is then checked on the whole country.

Prints a line per country and writes `benchmarks/results/validation.json`. Run `validation.py PACKAGE`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from claimscale.inference.calibration import FEWEST_POSITIVES, log_odds_of, recalibrate
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import lookup_of, shards
from claimscale.inference.performance import performance
from claimscale.inference.scored_dates import ScoredDates
from claimscale.inference.source_file import parts_of, prepared, read_source
from claimscale.inference.validate import with_outcomes
from claimscale.inference.validation_schema import Estimate, Performance
from claimscale.simulator.parameters import Country, build_country
from claimscale.simulator.population import Population, simulate
from record import write_record

COUNTRIES, SAMPLES = 20, 40
PATIENTS, HOSPITALS, MIN_AGE = 12_000, 12, 75
SAMPLE = 3000
"""Eligible patients of a validation."""
COMMON, CODED = 0.5, 0.3
"""Standard deviations of the log of a disease's incidence, and of the log odds of coding and treatment."""
MEASURES = ("auroc", "observed_expected", "slope", "intercept", "log_loss")


class OtherCountry(Population):
    """A population whose diseases, coding and treatment differ from the simulator's country, by its seed."""

    def country(self) -> Country:
        country = build_country(self.hospitals, self.seed, self.min_age)
        old, random = country.parameters, np.random.default_rng(self.seed)
        factor = np.exp(random.normal(random.normal(0, COMMON), COMMON, len(country.conditions)))
        hazard = old.hazard * factor
        in_baseline = hazard * old.in_baseline
        new = old._replace(
            hazard=hazard,
            baseline_total=np.einsum("sac,hc,mc->hsam", in_baseline, old.case_mix, old.season),
            coding=_moved(old.coding, random),
            treated=_moved(old.treated, random),
            test_probabilities=_moved(old.test_probabilities, random),
        )
        return country._replace(parameters=new)


def _moved(probability: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Probabilities with log odds that differ by normal numbers; 0 and 1 stay."""
    inner = probability.clip(1e-9, 1 - 1e-9)
    odds = inner / (1 - inner) * np.exp(random.normal(0, CODED, len(inner)))
    return np.where((probability > 0) & (probability < 1), odds / (1 + odds), probability)


class Scored(NamedTuple):
    """The eligible patients of a country, P of them."""

    labels: np.ndarray  # bool [P]
    risks: np.ndarray  # float64 [P]


def scored_country(package: ModelPackage, seed: int, on: dt.date) -> Scored:
    """Simulate a country, and score its eligible patients."""
    with tempfile.TemporaryDirectory() as folder:
        claims = Path(folder) / "claims"
        simulate(claims, OtherCountry(PATIENTS, HOSPITALS, seed, MIN_AGE), "meds")
        found = ScoredDates()
        with prepared(package, read_source(claims), on) as (events, engine):
            _, eligible = with_outcomes(package, events, engine, [on])
            for shard in shards(
                events, package.vocabulary, lookup_of(events, engine, package.config, package.vocabulary)
            ):
                for part in parts_of(eligible, shard):
                    found.add(package, shard, part)
    return Scored(found.labels, found.risks)


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def values(one: Performance) -> dict[str, float]:
    return {name: float(getattr(one, name).estimate) for name in MEASURES}


def log_ratio(labels: np.ndarray, risks: np.ndarray) -> float:
    """Distance of observed per expected outcomes from 1, as a log."""
    return abs(float(np.log(labels.sum() / risks.sum())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--countries", type=int, default=COUNTRIES)
    arguments = parser.parse_args()
    package = ModelPackage.open(arguments.package)
    random = np.random.default_rng(0)
    covered: dict[str, list[bool]] = {name: [] for name in MEASURES}
    found_wrong, mended = [], []
    for number in range(arguments.countries):
        labels, risks = scored_country(package, 1000 + number, package.config.landmark)
        everybody = np.arange(len(labels))
        truth = values(performance("as_is", labels, risks, everybody, None))
        own = []
        for _ in range(SAMPLES):
            chosen = random.integers(0, len(labels), SAMPLE)
            y, p, patient = labels[chosen], risks[chosen], np.arange(SAMPLE)
            one = performance("as_is", y, p, patient, None)
            for name in MEASURES:
                covered[name].append(holds(getattr(one, name), truth[name]))
            own.append(not holds(one.observed_expected, 1.0))
            # As in `validate`: with fewer outcomes there is no recalibration.
            if y.sum() >= 2 * FEWEST_POSITIVES:
                intercept, slope = recalibrate(y, p)
                everywhere = expit(intercept + slope * log_odds_of(risks))
                mended.append((abs(np.log(truth["observed_expected"])), log_ratio(labels, everywhere)))
        if abs(np.log(truth["observed_expected"])) > np.log(1.5):
            found_wrong += own
        print(
            f"country {number}: {labels.sum():,} of {len(labels):,} have the outcome, "
            f"AUROC {truth['auroc']:.3f}, observed per expected {truth['observed_expected']:.2f}, "
            f"found wrong in {sum(own)} of {SAMPLES}",
            flush=True,
        )
    figures = {f"coverage_{name}": float(np.mean(hits)) for name, hits in covered.items()}
    figures |= {
        "validations": len(covered["auroc"]),
        "found_where_off_by_half": float(np.mean(found_wrong)) if found_wrong else np.nan,
        "validations_where_off_by_half": len(found_wrong),
        "validations_recalibrated": len(mended),
        "mean_log_error_as_is": float(np.mean([before for before, _ in mended])),
        "mean_log_error_recalibrated": float(np.mean([after for _, after in mended])),
        "share_nearer_to_one": float(np.mean([after < before for before, after in mended])),
    }
    for name, value in figures.items():
        print(f"{name:<36}{value:.3f}")
    write_record("validation", figures)


if __name__ == "__main__":
    main()
