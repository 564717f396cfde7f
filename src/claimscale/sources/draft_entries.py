"""The entries of a draft mapping, in the order of their file; docs/sources/mapping.md explains the keys."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from claimscale.sources.dates import DateStyle


class SexDraft(TypedDict):
    column: str
    male: list[str]
    female: list[str]


class DeathDraft(TypedDict):
    table: NotRequired[str]
    patient: NotRequired[str]
    column: str


class PeriodsDraft(TypedDict):
    table: str
    patient: str
    start: str
    end: str


class RowsDraft(TypedDict):
    """The rows in which a column has one of the values."""

    column: str
    values: list[str]


class PatientsDraft(TypedDict):
    table: str
    patient: str
    birth: str
    sex: SexDraft
    death: NotRequired[DeathDraft]
    observed: NotRequired[list[str] | PeriodsDraft]


class VisitsDraft(TypedDict):
    table: str
    patient: str
    visit: str
    hospital: NotRequired[str]
    start: NotRequired[str]
    end: NotRequired[str]


class CodesDraft(TypedDict):
    table: str
    patient: str
    system: str
    code: str | list[str]
    date: NotRequired[str]
    month: NotRequired[str]
    visit: NotRequired[str]
    suspected: NotRequired[RowsDraft]
    only: NotRequired[RowsDraft]


class MappingDraft(TypedDict):
    """A mapping's content in the order of its file (docs/sources/mapping.md)."""

    dates: DateStyle
    patients: PatientsDraft
    visits: NotRequired[VisitsDraft]
    codes: list[CodesDraft]
