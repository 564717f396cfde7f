"""One simulated population, shared by the tests of this folder."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from claimscale.simulator import population
from claimscale.simulator.parameters import Country, build_country

PATIENTS, HOSPITALS, SEED, MIN_AGE = 6000, 4, 7, 60


class Events(NamedTuple):
    """Event columns as arrays; dates as days since 1970-01-01."""

    subject: np.ndarray
    day: np.ndarray
    available: np.ndarray
    code: np.ndarray
    suspected: np.ndarray
    hospital: np.ndarray
    visit: np.ndarray

    def where(self, condition: np.ndarray) -> Events:
        return Events(*(column[condition] for column in self))

    def of_stays(self) -> np.ndarray:
        return np.strings.endswith(self.visit, "-1")

    def coded(self, *prefixes: str) -> np.ndarray:
        return np.logical_or.reduce([np.strings.startswith(self.code, prefix) for prefix in prefixes])


def as_events(table: pa.Table) -> Events:
    def days(name: str) -> np.ndarray:
        return table[name].to_numpy().astype("datetime64[D]").astype(np.int64)

    def texts(name: str) -> np.ndarray:
        return table[name].fill_null("").to_numpy().astype(str)

    return Events(
        table["subject_id"].to_numpy(),
        days("time"),
        days("available_at"),
        texts("code"),
        table["suspected"].to_numpy(),
        texts("hospital_id"),
        texts("visit_id"),
    )


@pytest.fixture(scope="session")
def simulation() -> population.Population:
    return population.Population(PATIENTS, HOSPITALS, SEED, MIN_AGE)


@pytest.fixture(scope="session")
def country() -> Country:
    return build_country(HOSPITALS, SEED, MIN_AGE)


@pytest.fixture(scope="session")
def table(country: Country) -> pa.Table:
    return population.events(country, SEED, 1, PATIENTS)


@pytest.fixture(scope="session")
def events(table: pa.Table) -> Events:
    return as_events(table)


@pytest.fixture(scope="session")
def claims(events: Events) -> Events:
    """Without births and sexes."""
    return events.where(~events.coded("MEDS_BIRTH", "SEX//"))


@pytest.fixture(scope="session")
def everybody() -> Events:
    """Patients of all ages."""
    return as_events(population.events(build_country(5, 1), 3, 1, 8000))
