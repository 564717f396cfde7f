"""The conditions that drive an outcome in simulated patients, and whether contributions find their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import hypergeom

from claimscale.simulator import description, months
from claimscale.simulator.description import Condition, Description
from claimscale.simulator.kernel.histories import states_at
from claimscale.simulator.population import Population, stream_seed

TOP = 5
STATE_ITSELF, EARLIER_STAGE = 3.0, 2.0
"""Ranks of the outcome's own condition and of its milder stage, above all causes."""


ByCode = dict[tuple[str, bool], float]
"""The contribution of each code, all occurrences together."""


class Hits(NamedTuple):
    """Over patients: shares with a driver among the top codes, and the chance level of that."""

    share: float
    chance: float
    strongest: float
    strongest_chance: float
    patients: int


class Drivers:
    """The conditions that drive an outcome in each patient, with their codes."""

    def __init__(self, population: Population, outcome: tuple[str, ...], month: int) -> None:
        self.description: Description = description.read()
        country = population.country()
        self.has, _ = states_at(
            country.parameters, months.first_days(), stream_seed(population.seed), population.patients, month
        )
        self.names = country.conditions
        self.revised = {
            old: new for pairs in self.description.practice.revisions.values() for old, new in pairs.items()
        }
        everyday = set(self.description.everyday_codes())
        conditions = self.description.conditions
        self.codes = {name: self._codes(one) - everyday for name, one in conditions.items()}
        self.writers = [
            name
            for name, one in conditions.items()
            if any(code.startswith(outcome) for code in self._codes(one))
        ]

    def of(self, subject: int, least: float) -> dict[str, float]:
        """The patient's driving conditions with their strengths; causes of at least this log hazard ratio."""
        conditions = self.description.conditions
        present = {name for name, has in zip(self.names, self.has[subject - 1], strict=True) if has}
        found: dict[str, float] = {name: STATE_ITSELF for name in self.writers if name in present}
        for name in self.writers:
            stage = conditions[name].stage_of
            if name in present:
                continue
            if stage in present:
                found.setdefault(stage, EARLIER_STAGE)
            # Before the earlier stage, its causes come first.
            target = stage if stage is not None and stage not in present else name
            for cause, (weight, _years) in conditions[target].causes.items():
                if cause in present and weight >= least:
                    found[cause] = max(found.get(cause, 0.0), weight)
        return found

    def _codes(self, condition: Condition) -> set[str]:
        codes = {f"ICD10//{code}" for code in condition.diagnoses}
        codes |= {f"ATC//{code}" for line in condition.drugs for code in line}
        codes |= {f"KUBUN//{code}" for code in condition.tests}
        return codes | {self.revised[code] for code in codes if code in self.revised}


def hits(contributions: Sequence[ByCode], subjects: np.ndarray, drivers: Drivers, least: float) -> Hits:
    """Patients without a driver's code in the record do not count."""
    found: list[tuple[float, float]] = []
    strongest: list[tuple[float, float]] = []
    for by_code, subject in zip(contributions, subjects.tolist(), strict=True):
        keys = sorted(by_code, key=lambda key: -by_code[key])
        ranked = drivers.of(subject, least)
        each = [
            _is_driver(keys, drivers.codes[name]) for name in sorted(ranked, key=lambda name: -ranked[name])
        ]
        recorded = [is_driver for is_driver in each if is_driver.any()]
        if recorded:
            found.append(hit(np.any(recorded, axis=0)))
            strongest.append(hit(recorded[0]))
    (share, chance), (best, best_chance) = (np.mean(one, axis=0).tolist() for one in (found, strongest))
    return Hits(share, chance, best, best_chance, len(found))


def _is_driver(keys: Sequence[tuple[str, bool]], codes: set[str]) -> np.ndarray:
    """Whether each code of the record, or a longer code that has its token, is one of the codes: bool [n]."""
    return np.array([not suspected and any(c.startswith(code) for c in codes) for code, suspected in keys])


def hit(is_driver: np.ndarray) -> tuple[float, float]:
    """Whether the first TOP hold a driver, and the probability of that for a random order."""
    chance = hypergeom.sf(0, len(is_driver), is_driver.sum(), min(TOP, len(is_driver)))
    return float(is_driver[:TOP].any()), float(chance)
