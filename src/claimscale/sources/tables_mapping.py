"""The meaning of the columns of flat tables: a mapping, built-in or a YAML file of the user."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from claimscale.config import loading
from claimscale.config.base import Settings
from claimscale.errors import BadInput
from claimscale.sources.dates import DateStyle

Width = Annotated[int, Field(ge=1, le=20)]


class RowFilter(Settings):
    """Rows in which a column has one of the values; case is ignored."""

    column: str
    values: Annotated[list[str], Field(min_length=1)]


class SexColumn(Settings):
    """The values that mean male and female; all other values are unknown."""

    column: str
    male: list[str]
    female: list[str]


class DeathColumn(Settings):
    """The column with the day, or the month, of death; `only` selects the rows of the dead."""

    column: str
    only: RowFilter | None = None


class PatientTable(Settings):
    """One row per patient, or several equal ones. `observed`: first and last day, or month, of insurance.

    With `hospital`, patient ids are unique within a hospital only: one id in two hospitals is two people.
    Every table then needs a hospital, in a column of its own or through its visits.
    """

    table: str
    patient: str
    hospital: str | None = None
    birth: str
    sex: SexColumn
    death: DeathColumn | None = None
    observed: tuple[str, str] | None = None

    @field_validator("observed", mode="before")
    @classmethod
    def list_as_pair(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class VisitTable(Settings):
    """One row per claim or visit. Rows that `stay` selects become an admission and a discharge."""

    table: str
    patient: str
    visit: str
    hospital: str | None = None
    month: str | None = None
    start: str
    end: str
    stay: RowFilter


class CodeLookup(Settings):
    """A code table: a code is found in column `by` and replaced by the value of column `take`."""

    table: str
    by: str
    take: str


class CodeTable(Settings):
    """A table with one code per row.

    A row is dated to `date`, else to the first day of `month`. Hospital and month come from the row's visit
    if the table lacks them. `width`, the length of every code, restores leading zeros that were lost. `only`
    selects rows: a table with codes of several systems is listed once for each system.
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
    lookup: CodeLookup | None = None
    only: RowFilter | None = None
    suspected: RowFilter | None = None
    value: str | None = None


class TableMapping(Settings):
    """The tables of a folder. `dates` is the format of dates in text; Parquet may have a date type."""

    dates: DateStyle = "western"
    patients: PatientTable
    visits: VisitTable | None = None
    codes: Annotated[list[CodeTable], Field(min_length=1)]

    @model_validator(mode="after")
    def rows_are_dated_and_placed(self) -> TableMapping:
        visits = self.visits
        if visits is None:
            incomplete = [each.table for each in self.codes if each.date is None and each.month is None]
            if incomplete:
                raise ValueError(
                    f"codes: {incomplete[0]} has neither date nor month, and there is no visits table"
                )
        if self.patients.hospital is not None:
            of_visits = visits is not None and visits.hospital is not None
            incomplete = ["visits"] if visits is not None and not of_visits else []
            incomplete += [
                each.table for each in self.codes if not (each.hospital or (each.visit and of_visits))
            ]
            if incomplete:
                raise ValueError(
                    f"patients.hospital: {incomplete[0]} has no hospital, which distinguishes patients"
                )
        return self


def load(name: str) -> TableMapping:
    """A built-in mapping by its name, or a YAML file. Raises BadInput naming the file and the key."""
    built_in = importlib.resources.files("claimscale.sources").joinpath("mappings")
    names = sorted(Path(each.name).stem for each in built_in.iterdir() if each.name.endswith(".yaml"))
    if name not in names and not name.endswith((".yaml", ".yml")):
        raise BadInput(f"source.mapping: {name!r} is none of {', '.join(names)}, nor a YAML file")
    file = built_in.joinpath(f"{name}.yaml") if name in names else Path(name)
    return loading.validated(TableMapping, loading.read_mapping(file), name)
