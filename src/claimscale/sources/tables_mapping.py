"""The meaning of the columns of flat tables: a mapping, built-in or a YAML file of the user."""

from __future__ import annotations

import fnmatch
import importlib.resources
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from claimscale.codes.systems import check_system
from claimscale.config import loading
from claimscale.config.base import Settings
from claimscale.errors import BadInput
from claimscale.sources.dates import DateStyle

Width = Annotated[int, Field(ge=1, le=20)]


def _lower(name: str) -> str:
    return name.strip().lower()


System = Annotated[str, AfterValidator(check_system)]
"""A code system: a known one, or a name of your own."""
Column = Annotated[str, AfterValidator(_lower)]
"""The name of a column. Case and blanks around it are ignored."""
PATTERN_SIGNS = frozenset("*?[")


class RowFilter(Settings):
    """Rows in which a column has one of the values; case is ignored."""

    column: Column
    """Column that is compared."""
    values: Annotated[list[str], Field(min_length=1)]
    """Values that select a row."""


class SexColumn(Settings):
    """The sex of a patient. All values that are in neither list are unknown, and are reported."""

    column: Column
    """Column of the sex."""
    male: list[str]
    """Values that mean male; case is ignored."""
    female: list[str]
    """Values that mean female; case is ignored."""


class DeathColumn(Settings):
    """The death of a patient."""

    table: str | None = None
    """Table of deaths; without it, the table of the patients."""
    patient: Column | None = None
    """Id of the patient in the table of deaths; without it, the column of the same name."""
    column: Column
    """Day of death; a month means its last day."""
    only: RowFilter | None = None
    """Rows of the dead; without it, all rows with a value in the column."""


class PeriodTable(Settings):
    """A table of periods of insurance. Those of one patient together are the time of observation."""

    table: str
    """Table of the periods."""
    patient: Column | None = None
    """Id of the patient in it; without it, the column of the same name."""
    start: Column
    """First day, or month, of a period."""
    end: Column
    """Last day, or month, of a period."""


class AgeColumn(Settings):
    """A birth that is known by an age only."""

    age: Column
    """Age in years."""
    at: Column
    """Day, month or year of this age; the birth is January 1 of that year minus the age."""


class PatientTable(Settings):
    """One row per patient, or several equal ones."""

    table: str
    """Name of the table."""
    patient: Column
    """Id of the patient."""
    hospital: Column | None = None
    """Hospital, if ids are unique within a hospital only: one id in two hospitals is then two people. Every
    table then needs a hospital, in a column of its own or through its visits."""
    birth: Column | AgeColumn
    """Birth: a column with a day, or a month or a year (their first day); or an age and its date."""
    sex: SexColumn
    """Column of the sex, and its values."""
    death: DeathColumn | None = None
    """Column of the day of death."""
    observed: tuple[Column, Column] | PeriodTable | None = None
    """Columns of the first and the last day, or month, of insurance; or a table of such periods."""

    @property
    def death_table(self) -> str | None:
        """The table of deaths, if it is another one."""
        return self.death.table if self.death and self.death.table != self.table else None

    @property
    def period_table(self) -> PeriodTable | None:
        """The table of periods of observation, if it is another one."""
        return self.observed if isinstance(self.observed, PeriodTable) else None

    @model_validator(mode="after")
    def other_tables_are_of_one_patient(self) -> PatientTable:
        for name, other in (("death", self.death_table), ("observed", self.period_table)):
            if other and self.hospital:
                raise ValueError(f"{name}.table: cannot be used with hospital, which distinguishes patients")
        return self

    @field_validator("observed", mode="before")
    @classmethod
    def list_as_pair(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class VisitTable(Settings):
    """One row per claim or visit. Stays become an admission and a discharge; other visits make no event."""

    table: str
    """Name of the table."""
    patient: Column
    """Id of the patient."""
    visit: Column
    """Id of the claim or visit."""
    hospital: Column | None = None
    """Hospital of the visit."""
    month: Column | None = None
    """Month of the claim, at whose end the visit is known; without it, the month in which the visit ends."""
    start: Column
    """First day of the visit; for a stay, the admission."""
    end: Column
    """Last day of the visit; for a stay, the discharge."""
    stay: RowFilter | None = None
    """Rows that are inpatient stays; without it, the visits of at least one night."""


class CodeLookup(Settings):
    """A code table, which translates codes. Codes that it lacks are quarantined as `missing code`."""

    table: str
    """Name of the code table."""
    by: Column
    """Column of the codes as they are in the claims."""
    take: Column
    """Column of the codes that replace them."""


class CodeTable(Settings):
    """A table with one code per row, or with several columns of codes. It may be listed several times."""

    table: str
    """Name of the table."""
    patient: Column
    """Id of the patient."""
    visit: Column | None = None
    """Id of the claim or visit, from which a row has the hospital and month that it lacks."""
    hospital: Column | None = None
    """Hospital of the row."""
    month: Column | None = None
    """Month of the claim, at whose end the row is known; rows without a date are dated to its first day."""
    date: Column | None = None
    """Day of the row."""
    system: System
    """Code system of the codes, such as ICD10, ICD9CM, ATC, NDC or a name of your own."""
    code: Column | Annotated[list[Column], Field(min_length=1)]
    """Column of the code; for a table with several, a list of columns or a pattern such as `dx*`. Empty cells
    of several columns make no event."""
    width: Width | None = None
    """Length of every code, to restore leading zeros that were lost."""
    lookup: CodeLookup | None = None
    """Code table that translates the codes."""
    only: RowFilter | None = None
    """Rows that are read; without it, all."""
    suspected: RowFilter | None = None
    """Rows whose diagnosis is only suspected."""
    value: Column | None = None
    """Number of the row: a quantity or a measured value. Rows that differ in it alone are all kept."""

    @property
    def code_columns(self) -> list[str]:
        """The columns of codes, or patterns of their names."""
        return [self.code] if isinstance(self.code, str) else self.code


class TableMapping(Settings):
    """The tables of a folder."""

    dates: DateStyle = "western"
    """Format of dates in text: western, month_first, day_first, wareki or excel (docs/sources/tables.md)."""
    patients: PatientTable
    """Table of the patients."""
    visits: VisitTable | None = None
    """Table of claims or visits."""
    codes: Annotated[list[CodeTable], Field(min_length=1)]
    """Tables of codes."""

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

    @property
    def birth_columns(self) -> list[str]:
        """The columns that give the birth."""
        birth = self.patients.birth
        return [birth] if isinstance(birth, str) else [birth.age, birth.at]

    def categories(self, table: str) -> set[str]:
        """The columns of a table whose values the mapping lists."""
        people, visits = self.patients, self.visits
        filters = [(people.death_table or people.table, people.death.only if people.death else None)]
        filters += [(visits.table, visits.stay)] if visits else []
        filters += [(each.table, rows) for each in self.codes for rows in (each.only, each.suspected)]
        listed = {rows.column for name, rows in filters if rows and name == table}
        return listed | ({people.sex.column} if people.table == table else set())

    def with_columns(self, columns: Mapping[str, Sequence[str]]) -> TableMapping:
        """The mapping with patterns replaced by the `columns` of their table, in the order of the table.

        Raises BadInput for a pattern that matches no column.
        """
        codes: list[CodeTable] = []
        for each in self.codes:
            named: list[str] = []
            for wanted in each.code_columns:
                found = [wanted]
                if PATTERN_SIGNS & set(wanted) and wanted not in columns[each.table]:
                    found = [name for name in columns[each.table] if fnmatch.fnmatchcase(name, wanted)]
                    if not found:
                        raise BadInput(f"source.mapping: table {each.table} has no column {wanted}")
                named += [name for name in found if name not in named]
            codes.append(each.model_copy(update={"code": named}))
        return self.model_copy(update={"codes": codes})

    def has_empty_cells(self, codes: CodeTable) -> bool:
        """Whether the table has several columns of codes, so that a row need not fill all."""
        return (
            len({name for each in self.codes if each.table == codes.table for name in each.code_columns}) > 1
        )


def built_in() -> list[str]:
    """The names of the built-in mappings."""
    return sorted(Path(each.name).stem for each in _folder().iterdir() if each.name.endswith(".yaml"))


def load(name: str) -> TableMapping:
    """A built-in mapping by its name, or a YAML file. Raises BadInput naming the file and the key."""
    names = built_in()
    if name not in names and not name.endswith((".yaml", ".yml")):
        raise BadInput(f"source.mapping: {name!r} is none of {', '.join(names)}, nor a YAML file")
    file = _folder().joinpath(f"{name}.yaml") if name in names else Path(name)
    return loading.validated(TableMapping, loading.read_mapping(file), name)


def _folder() -> Traversable:
    return importlib.resources.files("claimscale.sources").joinpath("mappings")
