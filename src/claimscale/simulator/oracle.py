"""The oracle: each patient's true risk given the latent state at the index date.

No model can discriminate better. The simulation is deterministic, so the state at an index date is found by
simulating the patient again. From there many futures are simulated with other random numbers, and the label
rule is applied to each.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from claimscale.errors import BadInput
from claimscale.simulator import months
from claimscale.simulator.kernel.claims import Included
from claimscale.simulator.kernel.histories import LabelWindow, monte_carlo_risk, states_at
from claimscale.simulator.parameters import Parameters
from claimscale.simulator.population import Population, stream_seed


class LabelRule(NamedTuple):
    """When a label is positive.

    The first outcome code is in (index + gap_days, index + gap_days + horizon_days] and, if
    `confirmation_days` is given, another one follows at least that many days later.

    Attributes:
        outcome_codes: full codes (`ICD10//N189`); codes that the country lacks never occur.
    """

    outcome_codes: Collection[str]
    gap_days: int
    horizon_days: int
    confirmation_days: int | None = None


class Oracle:
    """True risks of the patients that `population.simulate` writes for the same population.

    Attributes:
        codes: every code of the country (`SYSTEM//CODE`).
    """

    def __init__(self, population: Population) -> None:
        self._population = population
        self._country = population.country()
        self.codes = self._country.codes

    def risk(
        self, subject_ids: np.ndarray, index_days: np.ndarray, rule: LabelRule, futures: int = 500
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probability of a positive label given the latent state at the index date.

        Args:
            subject_ids: int [n].
            index_days: index dates, int [n], days since 1970-01-01; not before the first contact.
            rule: the label rule.
            futures: Monte Carlo sample size per patient.

        Returns:
            Risk and its Monte Carlo standard error, both float64 [n].

        Raises BadInput for patients that the population does not have.
        """
        subjects, parameters = np.asarray(subject_ids, np.int64), self._country.parameters
        if np.any((subjects < 1) | (subjects > self._population.patients)):
            raise BadInput(f"oracle: subject ids must be between 1 and {self._population.patients}")
        is_outcome = np.isin(self.codes, list(rule.outcome_codes))
        # A code counts if any revision turns it into an outcome code.
        can_count = np.any(is_outcome[parameters.revised_codes], axis=0)
        window = LabelWindow(
            is_outcome,
            Included(_writers(parameters, can_count), bool(can_count[parameters.everyday_codes].any())),
            rule.gap_days,
            rule.horizon_days,
            rule.confirmation_days or 0,
        )
        first_days, seed = months.first_days(), stream_seed(self._population.seed)
        index_days = np.asarray(index_days, np.int64)

        def chunk_risk(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return monte_carlo_risk(
                parameters, first_days, seed, subjects[rows], index_days[rows], window, futures
            )

        # Each patient has separate streams, so the number of threads changes nothing.
        threads = os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            chunks = list(pool.map(chunk_risk, np.array_split(np.arange(subjects.size), threads)))
        risks, errors = zip(*chunks, strict=True)
        return np.concatenate(risks), np.concatenate(errors)


def prevalent(population: Population, condition: str, month: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether patients have a condition, and are alive and observed, at the end of a month (0 is April 2017).

    Returns two bool arrays [patients], in the order of subject ids 1, 2, ...
    """
    country, seed = population.country(), stream_seed(population.seed)
    has, observed = states_at(country.parameters, months.first_days(), seed, population.patients, month)
    return has[:, country.conditions.index(condition)], observed


def _writers(parameters: Parameters, is_outcome: np.ndarray) -> np.ndarray:
    """The conditions that can write an outcome code, bool [C]; the codes of others need not be sampled."""
    writers = np.zeros(parameters.care.size, bool)
    groups = (
        (parameters.diagnosis_codes, parameters.diagnosis_offsets),
        (parameters.drug_codes, parameters.drug_offsets[parameters.line_offsets]),
        (parameters.test_codes, parameters.test_offsets),
    )
    for codes, offsets in groups:
        owner = np.repeat(np.arange(writers.size), np.diff(offsets))
        writers[owner[is_outcome[codes]]] = True
    return writers
