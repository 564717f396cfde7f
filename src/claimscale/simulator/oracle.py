"""The true risks: what somebody who knew each patient's latent state could predict, and no model can beat.

The simulation is deterministic, so the state at an index date is found by living the life again. From there
the same month goes on many times with other random numbers, and the label rule is applied to each future.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from claimscale.errors import BadInput
from claimscale.simulator import months, parameters as world
from claimscale.simulator.kernel.histories import foresee, states_at
from claimscale.simulator.population import stream_seed


class Oracle:
    """True risks of the patients that `population.simulate` writes for the same arguments.

    Attributes:
        codes: every code of the country (`SYSTEM//CODE`).
    """

    def __init__(self, patients: int, hospitals: int, seed: int, youngest: int = 0) -> None:
        self._patients = patients
        self._seed = seed
        self._country = world.build(hospitals, seed, youngest)
        self.codes = self._country.codes

    def risk(
        self,
        subject_ids: np.ndarray,
        prediction_days: np.ndarray,
        landmark_day: int,
        outcome_codes: Collection[str],
        gap_days: int,
        horizon_days: int,
        confirm_days: int | None,
        futures: int = 500,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Chance of a positive label given the latent state at the index date.

        The index date is the last contact before the landmark; what is known is therefore also that no
        contact follows until the landmark. Each future lives those months without contact and is weighted
        by its probability of doing so.

        Args:
            subject_ids: int [n].
            prediction_days: index dates, int [n], days since 1970-01-01; not before the first contact.
            landmark_day: the landmark, days since 1970-01-01.
            outcome_codes: full codes (`ICD10//N189`); codes that the country lacks never occur.
            gap_days, horizon_days: the first outcome code counts in (index + gap, index + gap + horizon].
            confirm_days: a second outcome code must follow at least so many days after the first, if given.
            futures: Monte Carlo sample per patient.

        Returns:
            Risk and its Monte Carlo standard error, both float64 [n].

        Raises BadInput for patients that the country does not have.
        """
        subjects = np.asarray(subject_ids, np.int64)
        if np.any((subjects < 1) | (subjects > self._patients)):
            raise BadInput(f"oracle: subject ids must lie between 1 and {self._patients}")
        is_outcome = np.isin(self.codes, list(outcome_codes))
        is_written = np.any(is_outcome[self._country.world.spelling], axis=0)

        def chunk_risk(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return foresee(
                self._country.world,
                months.first_days(),
                stream_seed(self._seed),
                subjects[rows],
                np.asarray(prediction_days, np.int64)[rows],
                landmark_day,
                is_outcome,
                _writers(self._country.world, is_written),
                bool(is_written[self._country.world.everyday_codes].any()),
                gap_days,
                horizon_days,
                0 if confirm_days is None else confirm_days,
                futures,
            )

        # Each patient has streams of its own, so that the number of threads changes nothing.
        threads = os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            chunks = list(pool.map(chunk_risk, np.array_split(np.arange(subjects.size), threads)))
        risks, errors = zip(*chunks, strict=True)
        return np.concatenate(risks), np.concatenate(errors)


def prevalent(
    patients: int, hospitals: int, seed: int, condition: str, month: int
) -> tuple[np.ndarray, np.ndarray]:
    """Who has the condition, and who is alive and in sight, at the end of a month (0 is April 2017).

    Returns two bool arrays [patients], in the order of subject ids 1, 2, ...
    """
    country = world.build(hospitals, seed)
    has, in_sight = states_at(country.world, months.first_days(), stream_seed(seed), patients, month)
    return has[:, country.conditions.index(condition)], in_sight


def _writers(country: world.World, is_outcome: np.ndarray) -> np.ndarray:
    """The conditions that can write an outcome code, bool [C]; the others' codes need not be drawn."""
    writers = []
    for condition in range(country.care.size):
        first_line, last_line = country.line_offsets[condition : condition + 2]
        written = np.concatenate(
            [
                country.diagnosis_codes[slice(*country.diagnosis_offsets[condition : condition + 2])],
                country.drug_codes[country.drug_offsets[first_line] : country.drug_offsets[last_line]],
                country.test_codes[slice(*country.test_offsets[condition : condition + 2])],
            ]
        )
        writers.append(is_outcome[written].any())
    return np.array(writers)
