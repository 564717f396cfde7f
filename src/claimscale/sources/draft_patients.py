"""The patients of a draft mapping, their deaths and periods of insurance, by names and values of columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from claimscale.errors import BadInput
from claimscale.sources.draft_entries import PatientsDraft
from claimscale.sources.draft_tables import EMPTY_SHARE, END, OBSERVED, PATIENT, START, DraftTable

PATIENT_ID = "an id of a patient"
PARTS = {PATIENT_ID: "patient_id", "a birth": "birth_date", "a sex": "sex"}
"""What a table of patients needs, and a name by which it is recognised."""
OF_PERIOD = f"({OBSERVED}).*{{0}}|{{0}}.*({OBSERVED})"
"""Names of the columns of a period of insurance, with its edge at {0}."""


def people_table(folder: Path, tables: Sequence[DraftTable], notes: list[str]) -> DraftTable:
    """The table of patients: that with births and sexes; of several, the one with the most columns known."""
    found = [one for one in tables if one.birth and one.sex and next(one.named(PATIENT), None)]
    if not found:
        raise BadInput(f"{folder}: {_no_people(tables)}; write a mapping by hand (docs/sources/mapping.md)")
    chosen = max(found, key=lambda one: (bool(one.death), -len(one.codes), one.rows))
    others = [one.name for one in found if one is not chosen]
    if others:
        notes.append(
            f"patients: {', '.join(others)} could be the table of patients too; put parts in a folder"
        )
    return chosen


def _no_people(tables: Sequence[DraftTable]) -> str:
    """What is missing in the table that has the most of a patient, a birth and a sex."""
    parts = [
        {
            PATIENT_ID: next((one.name for one in table.named(PATIENT)), None),
            "a birth": table.birth,
            "a sex": table.sex.name if table.sex else None,
        }
        for table in tables
    ]
    most = max(range(len(parts)), key=lambda place: sum(map(bool, parts[place].values())), default=None)
    if most is None or not (parts[most]["a birth"] or parts[most]["a sex"]):
        return "no table with a patient, a birth and a sex was recognised"
    seen = " and ".join(f"{part} ({column})" for part, column in parts[most].items() if column)
    missing = [part for part, column in parts[most].items() if not column]
    names = " and ".join(PARTS[part] for part in missing)
    return f"{tables[most].name} has {seen}, but not {' and '.join(missing)}; call the missing column {names}"


def patients_entry(people: DraftTable, tables: Sequence[DraftTable], notes: list[str]) -> PatientsDraft:
    assert people.sex is not None and people.birth is not None
    patient = max(people.named(PATIENT), key=lambda one: sum(one.name in other.columns for other in tables))
    male, female, other = _sexes(people.sex.few_values)
    if not male or not female:
        notes.append(f"patients.sex: which of {', '.join(people.sex.few_values)} mean male and female?")
    elif other:
        notes.append(f"patients.sex: {', '.join(other)} will be unknown")
    entry: PatientsDraft = {
        "table": people.name,
        "patient": patient.name,
        "birth": people.birth,
        "sex": {"column": people.sex.name, "male": male, "female": female},
    }
    people.roles |= {patient.name: "patient", people.birth: "birth", people.sex.name: "sex"}
    if people.death:
        entry["death"] = {"column": people.death}
        people.roles[people.death] = "death"
    if columns := _period(people, OF_PERIOD):
        entry["observed"] = columns
        people.roles |= dict.fromkeys(columns, "observed")
    return entry


def _sexes(values: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The values that mean male, female, and neither. 1 and 2 mean male and female (ISO/IEC 5218)."""
    male = [one for one in values if one.lower() in ("m", "male", "1", "01", "男", "男性")]
    female = [one for one in values if one.lower() in ("f", "female", "2", "02", "w", "女", "女性")]
    return male, female, [one for one in values if one not in male + female]


def patient_columns(tables: Sequence[DraftTable], patient: str) -> dict[str, str]:
    """The column of the patient by table: the same name, or the first that is named like one."""
    found: dict[str, str] = {}
    for table in tables:
        names = [one.name for one in table.named(PATIENT) if one.filled >= EMPTY_SHARE * table.rows]
        if patient in table.columns or names:
            found[table.name] = patient if patient in table.columns else names[0]
    return found


def add_deaths(entry: PatientsDraft, tables: Sequence[DraftTable], ids: dict[str, str]) -> None:
    """The table of deaths, if the table of patients has none."""
    for table in tables:
        if "death" not in entry and table.death and table.name in ids and not table.codes:
            entry["death"] = {"table": table.name, "patient": ids[table.name], "column": table.death}
            table.roles |= {ids[table.name]: "patient", table.death: "death"}


def add_periods(entry: PatientsDraft, tables: Sequence[DraftTable], ids: dict[str, str]) -> None:
    """The table of periods of insurance, if the table of patients has none."""
    for table in tables:
        if "observed" in entry or table.name not in ids or table.codes or table.name == entry["table"]:
            continue
        is_named = re.search(OBSERVED, table.name.lower())
        if columns := _period(table, "{0}" if is_named else OF_PERIOD):
            start, end = columns
            entry["observed"] = {"table": table.name, "patient": ids[table.name], "start": start, "end": end}
            table.roles |= {ids[table.name]: "patient"} | dict.fromkeys(columns, "observed")


def _period(table: DraftTable, form: str) -> list[str]:
    """The columns of the first and the last day; `form` is a pattern of names with {0} for the edge."""
    first, last = (table.first_date(form.format(f"({edge})")) for edge in (START, END))
    return [first.name, last.name] if first and last and first is not last else []
