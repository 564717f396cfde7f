"""Handmade and random events with the simulator's columns."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from claimscale.simulator.population import SCHEMA
from claimscale.simulator.writers import WRITERS, WriterOptions

COUNTRY_CODES = sorted(
    [f"ICD10//{code}" for code in ("A099", "E119", "I10", "I509", "J189", "M8100", "N18", "N189", "R80")]
    + [f"ATC//{code}" for code in ("A10AB05", "A10BA02", "A10BH01", "C08CA01", "D07AC01", "N02BF02")]
    + [f"ATC//{code}" for code in ("N03AX16", "V03AE02")]
    + [f"KUBUN//{code}" for code in ("A000", "A001", "A002", "A100", "B00127", "D000", "D0071", "D00818")]
    + [f"KUBUN//{code}" for code in ("E2001", "J038", "K695-23", "K920-2", "L1002", "G010-10")]
)

Fact = tuple[int, dt.date, str, bool]
"""A claimed event: patient, day (the first of the month for diagnoses), code, suspected."""


class Country:
    """Events of whole patients, added claim by claim."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def patient(self, subject: int, birth: str, sex: str, death: str | None = None, at: str = "") -> None:
        for code in ("MEDS_BIRTH", f"SEX//{sex}"):
            self._add(subject, birth, code, None, None, birth)
        if death:
            self._add(subject, death, "MEDS_DEATH", at, None, _month_end(death))

    def visit(
        self,
        subject: int,
        hospital: str,
        day: str,
        diagnoses: Sequence[str] = (),
        services: Sequence[str] = (),
    ) -> None:
        """An outpatient claim; a diagnosis that ends in "?" is suspected."""
        self._claim(subject, hospital, day, "", diagnoses, [(code, day) for code in services])

    def stay(
        self,
        subject: int,
        hospital: str,
        first: str,
        last: str,
        diagnoses: Sequence[str] = (),
        services: Sequence[tuple[str, str]] = (),
    ) -> None:
        ends = [("VISIT//ADMISSION", first), ("VISIT//DISCHARGE", last)]
        self._claim(subject, hospital, first, "-1", diagnoses, [*services, *ends])

    def table(self) -> pa.Table:
        death_last = [(row["code"] == "MEDS_DEATH", row) for row in self.rows]
        rows = sorted(
            death_last, key=lambda pair: (pair[1]["subject_id"], pair[1]["time"], pair[0], pair[1]["code"])
        )
        return pa.Table.from_pylist([row for _, row in rows], schema=SCHEMA)

    def _claim(self, subject, hospital, day, suffix, diagnoses, services) -> None:
        visit = f"{subject}-{day[:4]}{day[5:7]}{suffix}"
        for code in diagnoses:
            first = day[:8] + "01"
            is_suspected = code.endswith("?")
            self._add(
                subject, first, "ICD10//" + code.rstrip("?"), hospital, visit, _month_end(day), is_suspected
            )
        for code, on in services:
            self._add(subject, on, code, hospital, visit, _month_end(day))

    def _add(self, subject, day, code, hospital, visit, available, suspected=False) -> None:
        self.rows.append(
            {
                "subject_id": subject,
                "time": dt.datetime.fromisoformat(day),
                "code": code,
                "numeric_value": None,
                "hospital_id": hospital,
                "visit_id": visit,
                "available_at": dt.datetime.fromisoformat(available),
                "suspected": suspected,
            }
        )


def _month_end(day: str) -> str:
    first = dt.date.fromisoformat(day[:8] + "01")
    return ((first + dt.timedelta(days=32)).replace(day=1) - dt.timedelta(days=1)).isoformat()


def six_patients() -> pa.Table:
    """Six patients in three hospitals.

    1: chronic, a code both confirmed and suspected, across the change of era, alive
    2: dies in a stay (its discharge day), with an outpatient claim earlier in that month
    3: dies after an outpatient claim of that month
    4: dies long after the last claim: no claim records it
    5: has no claim
    6: a claim of diagnoses only, a stay of one day, born before 1926
    """
    country = Country()
    country.patient(1, "1950-02-28", "F")
    country.visit(1, "H001", "2019-04-30", ["I10", "N189?"], ["KUBUN//A002", "ATC//C08CA01"])
    country.visit(
        1,
        "H001",
        "2019-05-31",
        ["I10", "N189", "N189?", "E119"],
        ["KUBUN//A002", "KUBUN//D0071", "KUBUN//D00818", "KUBUN//D000", "ATC//C08CA01", "ATC//N02BF02"],
    )
    country.patient(2, "1941-12-01", "M", death="2020-02-29", at="H001")
    country.visit(2, "H001", "2020-02-03", ["I509"], ["KUBUN//A001", "KUBUN//J038", "ATC//A10AB05"])
    country.stay(
        2,
        "H001",
        "2020-02-10",
        "2020-02-29",
        ["I509", "N18", "E119", "J189?", "I10", "R80", "M8100", "A099?"],
        [
            ("KUBUN//A100", "2020-02-10"),
            ("KUBUN//K695-23", "2020-02-11"),
            ("KUBUN//L1002", "2020-02-11"),
            ("KUBUN//D0071", "2020-02-29"),
            ("ATC//V03AE02", "2020-02-12"),
            ("ATC//A10BA02", "2020-02-10"),
        ],
    )
    country.patient(3, "2016-07-07", "M", death="2021-12-31", at="H042")
    country.visit(
        3, "H042", "2021-12-01", ["A099", "I509?"], ["KUBUN//A000", "KUBUN//K920-2", "KUBUN//B00127"]
    )
    country.patient(4, "1930-01-01", "F", death="2021-12-15", at="H042")
    country.visit(4, "H042", "2021-06-30", ["M8100"], ["KUBUN//A002", "ATC//D07AC01"])
    country.patient(5, "1999-09-09", "F")
    country.patient(6, "1925-03-04", "F")
    country.visit(6, "H519", "2020-02-01", ["I10?"])
    country.stay(6, "H519", "2021-12-31", "2021-12-31", ["J189?"], [("KUBUN//G010-10", "2021-12-31")])
    return country.table()


def random_events(seed: int, patients: int, first_subject: int = 1, hospitals: int = 5) -> pa.Table:
    """Random valid events: months with a visit, a stay, or both."""
    generator = np.random.default_rng(seed)
    by_system = {
        system: [code for code in COUNTRY_CODES if code.startswith(system)]
        for system in ("ICD10", "ATC", "KUBUN")
    }
    country = Country()

    def some(system: str) -> list[str]:
        return list(generator.choice(by_system[system], generator.integers(0, 6), replace=False))

    for subject in range(first_subject, first_subject + patients):
        hospital = f"H{generator.integers(1, hospitals + 1):03d}"
        birth = dt.date(1920, 1, 1) + dt.timedelta(days=int(generator.integers(0, 30_000)))
        months = np.sort(generator.choice(72, generator.integers(0, 8), replace=False)) if subject % 9 else []
        last = dt.date(2016, 1, 1)
        for month in months:
            first = dt.date(2016 + month // 12, month % 12 + 1, 1)
            days = [first + dt.timedelta(days=int(day)) for day in np.sort(generator.integers(0, 28, 3))]
            kind = generator.integers(0, 3)
            if kind != 1:
                coded = [code[7:] + "?" * int(generator.integers(0, 2)) for code in some("ICD10")]
                both = [code + "?" for code in coded[:1] if not code.endswith("?")]
                country.visit(
                    subject,
                    hospital,
                    str(days[0]),
                    coded + both,
                    some("ATC") + some("KUBUN") or ["KUBUN//A002"],
                )
            if kind != 0:
                services = [
                    (code, str(days[generator.integers(0, 3)])) for code in some("ATC") + some("KUBUN")
                ]
                coded = [code[7:] + "?" * int(generator.integers(0, 2)) for code in some("ICD10")]
                country.stay(subject, hospital, str(days[0]), str(days[2]), coded, services)
            last = days[2]
        dies = generator.random() < 0.3 and len(months)
        death = str(last + dt.timedelta(days=int(generator.integers(0, 40)))) if dies else None
        country.patient(subject, str(birth), "MF"[generator.integers(0, 2)], death, hospital)
    return country.table()


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write events as one or more shards and return the folder."""

    def write(format: str, *shards: pa.Table, **options: bool) -> Path:
        writer = WRITERS[format](tmp_path, COUNTRY_CODES, WriterOptions(**options))
        for number, shard in enumerate(shards):
            writer.write(shard, number)
        writer.finish()
        return tmp_path

    return write


class Known(NamedTuple):
    """A shard and the facts that every format must preserve."""

    events: pa.Table
    facts: Counter[Fact]
    stays: set[tuple[int, dt.date, dt.date]]
    deaths: dict[int, dt.date]
    patients: dict[int, tuple[dt.date, str]]


@pytest.fixture(scope="session")
def by_hand() -> Known:
    return known_of(six_patients())


@pytest.fixture(scope="session", params=["by hand", "random"])
def known(request: pytest.FixtureRequest) -> Known:
    return known_of(six_patients() if request.param == "by hand" else random_events(7, 60))


@pytest.fixture(scope="session")
def make_events() -> Callable[..., pa.Table]:
    return random_events


@pytest.fixture(scope="session")
def country_codes() -> list[str]:
    return COUNTRY_CODES


def known_of(events: pa.Table) -> Known:
    patients = {
        row["subject_id"]: (row["time"].date(), row["code"][-1])
        for row in events.to_pylist()
        if row["code"].startswith("SEX//")
    }
    return Known(events, facts(events), stays(events), deaths(events), patients)


def facts(events: pa.Table) -> Counter[Fact]:
    """What was diagnosed, given and done, with its system's name; stays and demographics apart."""
    return Counter(
        (row["subject_id"], row["time"].date(), row["code"], row["suspected"])
        for row in events.to_pylist()
        if row["code"].startswith(("ICD10//", "ATC//", "KUBUN//"))
    )


def stays(events: pa.Table) -> set[tuple[int, dt.date, dt.date]]:
    days: dict[str, dict[str, object]] = {}
    for row in events.to_pylist():
        if row["code"].startswith("VISIT//"):
            days.setdefault(row["visit_id"], {"patient": row["subject_id"]})[row["code"]] = row["time"].date()
    return {(stay["patient"], stay["VISIT//ADMISSION"], stay["VISIT//DISCHARGE"]) for stay in days.values()}  # type: ignore[misc]


def deaths(events: pa.Table) -> dict[int, dt.date]:
    return {
        row["subject_id"]: row["time"].date() for row in events.to_pylist() if row["code"] == "MEDS_DEATH"
    }
