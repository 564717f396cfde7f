"""What the columns of flat tables mean: a mapping, ready-made or the user's own YAML file."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from claimscale.config import loading
from claimscale.config.base import Settings
from claimscale.errors import BadInput
from claimscale.sources.dates import DateStyle

Width = Annotated[int, Field(ge=1, le=20)]


class Flag(Settings):
    """Rows where a column has one of the values, upper and lower case alike."""

    column: str
    values: Annotated[list[str], Field(min_length=1)]


class Sex(Settings):
    """Values that mean male and female; all others are unknown."""

    column: str
    male: list[str]
    female: list[str]


class Death(Settings):
    """The column with the day, or the month, of death; `only` where a flag says so."""

    column: str
    only: Flag | None = None


class Patients(Settings):
    """One row per patient, or several that agree. `observed`: first and last day, or month, of insurance.

    With `hospital`, ids are a hospital's own: one id in two hospitals is two people. Every table then needs a
    hospital, of its own or of its visits.
    """

    table: str
    patient: str
    hospital: str | None = None
    birth: str
    sex: Sex
    death: Death | None = None
    observed: tuple[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def read_pair(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("observed"), list):
            return {**value, "observed": tuple(value["observed"])}
        return value


class Visits(Settings):
    """One row per claim or visit. Rows that `stay` picks are an admission and a discharge."""

    table: str
    patient: str
    visit: str
    hospital: str | None = None
    month: str | None = None
    start: str
    end: str
    stay: Flag


class Lookup(Settings):
    """A code table: the code is looked up in column `by` and replaced by column `take`."""

    table: str
    by: str
    take: str


class Codes(Settings):
    """A table with one code per row.

    A row is dated to `date`, else to the first day of `month`; hospital and month come from the row's visit
    where the table does not have them. `width` restores leading zeros that were lost: codes have that many
    characters. `only` picks rows: a table with codes of several systems is listed once for each.
    """

    table: str
    patient: str
    visit: str | None = None
    hospital: str | None = None
    month: str | None = None
    date: str | None = None
    system: str
    code: str
    width: Width | None = None
    lookup: Lookup | None = None
    only: Flag | None = None
    suspected: Flag | None = None
    value: str | None = None


class Mapping(Settings):
    """What a folder of tables holds. `dates` is how texts are dates; Parquet columns may be real dates."""

    dates: DateStyle = "western"
    patients: Patients
    visits: Visits | None = None
    codes: Annotated[list[Codes], Field(min_length=1)]

    @model_validator(mode="after")
    def rows_are_dated_and_placed(self) -> Mapping:
        visits = self.visits
        if visits is None:
            lost = [each.table for each in self.codes if each.date is None and each.month is None]
            if lost:
                raise ValueError(f"codes: {lost[0]} has neither date nor month, and there are no visits")
        if self.patients.hospital is not None:
            of_visits = visits is not None and visits.hospital is not None
            lost = ["visits"] if visits is not None and not of_visits else []
            lost += [each.table for each in self.codes if not (each.hospital or (each.visit and of_visits))]
            if lost:
                raise ValueError(f"patients.hospital: {lost[0]} has no hospital, which tells patients apart")
        return self


def load(name: str) -> Mapping:
    """A ready mapping by its name, or a YAML file. Raises BadInput naming the file and the key."""
    ready = importlib.resources.files("claimscale.sources").joinpath("mappings")
    names = sorted(Path(each.name).stem for each in ready.iterdir() if each.name.endswith(".yaml"))
    if name not in names and not name.endswith((".yaml", ".yml")):
        raise BadInput(f"source.mapping: {name!r} is none of {', '.join(names)}, nor a YAML file")
    file = ready.joinpath(f"{name}.yaml") if name in names else Path(name)
    return loading.validated(Mapping, loading.read_mapping(file), name)
