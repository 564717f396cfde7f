"""A draft of the mapping of unknown tables, from the names and the values of their columns.

A draft is a suggestion: every choice is written down with its reason, for a person who knows the data.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from claimscale.errors import BadInput
from claimscale.sources.column_forms import WRITTEN_STYLES
from claimscale.sources.dates import DateStyle
from claimscale.sources.draft_entries import CodesDraft, MappingDraft, VisitsDraft
from claimscale.sources.draft_patients import (
    add_deaths,
    add_periods,
    patient_columns,
    patients_entry,
    people_table,
)
from claimscale.sources.draft_tables import (
    BIRTH,
    DATE,
    EMPTY_SHARE,
    END,
    HOSPITAL,
    ID,
    START,
    STAY,
    SUSPECTED,
    VISIT,
    DraftTable,
)
from claimscale.sources.table_samples import ROWS, sample, tables_of

CODE_NAMES = r"icd|diag|dgns|proc|prcdr|^px|_px|drg|ndc|hcpcs|cpt|atc|loinc"
"""Words in names of columns that may hold codes without a known form, such as DRG or ICD-10-PCS."""


@dataclass(frozen=True)
class Draft:
    """A draft of a folder: `mapping` as in `tables_mapping`, the tables, and what a person must check."""

    mapping: MappingDraft
    tables: Sequence[DraftTable]
    notes: Sequence[str]
    encoding: str


def draft(folder: Path) -> Draft:
    """A draft of the mapping of the tables in a folder.

    Raises BadInput for a folder in which no patients or no codes are recognised.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: is not a folder")
    samples = [sample(name, files) for name, files in tables_of(folder).items()]
    tables = [DraftTable.of(one) for one in samples]
    encodings = [one.encoding for one in samples if one.encoding != "utf-8"]
    notes: list[str] = []
    people = people_table(folder, tables, notes)
    style = _date_style(tables, notes)
    patients = patients_entry(people, tables, notes)
    ids = patient_columns(tables, patients["patient"])
    add_deaths(patients, tables, ids)
    add_periods(patients, tables, ids)
    visits = _visits_entry(tables, ids, people)
    mapping: MappingDraft = {"dates": style, "patients": patients, "codes": []}
    if visits:
        mapping = {"dates": style, "patients": patients, "visits": visits, "codes": []}
    mapping["codes"] += _code_entries(tables, ids, visits is not None, notes)
    if not mapping["codes"]:
        nobody = [one.name for one in tables if one.codes and one.name not in ids]
        lacking = (
            f"patient was recognised in {', '.join(nobody)}" if nobody else "column of codes was recognised"
        )
        raise BadInput(f"{folder}: no {lacking} (docs/sources/mapping.md lists the keys)")
    if visits is None:
        notes.append(
            "visits: no table has the id, first and last day of a visit: without it there are no stays "
            "and no hospitals"
        )
    else:
        notes += _other_visits(tables, visits)
    for table in tables:
        if not table.roles:
            notes.append(f"{table.name}: is not used")
        elif unused := ", ".join(f"{name} ({meaning}?)" for name, meaning in _unused(table)):
            notes.append(f"{table.name}: not used are {unused}")
    return Draft(mapping, tables, notes, encodings[0] if encodings else "utf-8")


def _date_style(tables: Sequence[DraftTable], notes: list[str]) -> DateStyle:
    """The one style of all dates in text."""
    columns = [
        one for table in tables for one in table.columns.values() if re.search(f"{DATE}|{BIRTH}", one.name)
    ]
    styles = Counter(one.date_style for one in columns if one.date_style and not one.is_ambiguous)
    unclear = [one for one in columns if one.is_ambiguous]
    if not styles and unclear:
        notes.append(f"dates: {unclear[0].name} can be read as month_first and as day_first")
        return "month_first"
    for table in tables:
        found = {style for style in (one.date_style for one in table.columns.values()) if style}
        if len(found - {"western"}) > 1:
            notes.append(f"dates: {table.name} has dates of more than one format; a mapping has one")
    for style in sorted(WRITTEN_STYLES, key=lambda one: -styles[one]):
        if styles[style] and style != "western":
            return style
    return "western"


def _visits_entry(
    tables: Sequence[DraftTable], ids: dict[str, str], people: DraftTable
) -> VisitsDraft | None:
    """The table of visits: with a visit's id, admission and discharge."""
    for table in tables:
        start, end = table.first_date(STAY + "|" + START, f"{BIRTH}|{END}"), table.first_date(END)
        visit = table.visit
        if table is people or table.name not in ids or not (start and end and visit):
            continue
        if not re.search(STAY + "|visit|encounter|claim", f"{table.name.lower()} {start.name} {end.name}"):
            continue
        entry: VisitsDraft = {"table": table.name, "patient": ids[table.name], "visit": visit}
        table.roles |= {ids[table.name]: "patient", visit: "visit"}
        if hospital := next((one.name for one in table.named(HOSPITAL) if one.name != visit), None):
            entry["hospital"] = hospital
            table.roles[hospital] = "hospital"
        table.roles |= {start.name: "start", end.name: "end"}
        entry["start"], entry["end"] = start.name, end.name
        return entry
    return None


def _other_visits(tables: Sequence[DraftTable], visits: VisitsDraft) -> Iterator[str]:
    """Tables whose visits are not in the table of visits; unknown where only a part was sampled."""
    of = next(one for one in tables if one.name == visits["table"])
    listed = of.columns[visits["visit"]].counts
    for table in tables:
        if table is of or "visit" not in table.roles.values() or max(table.rows, of.rows) >= ROWS:
            continue
        visit = next(one for name, one in table.columns.items() if table.roles.get(name) == "visit")
        known = sum(number for value, number in visit.counts.items() if value in listed)
        if known < visit.filled / 2:
            yield f"{table.name}.{visit.name}: {known / visit.filled:.0%} of its visits are in {of.name}"


def _unused(table: DraftTable) -> Iterator[tuple[str, str]]:
    """Columns without a role that look like something that a mapping can use, and what it may be."""
    for name, column in table.columns.items():
        if name in table.roles or not column.filled:
            continue
        if table.is_date(column):
            yield name, "a date"
        elif re.search(HOSPITAL, name):
            yield name, "a hospital"
        elif re.search(VISIT, name) and re.search(ID, name):
            yield name, "a visit"
        elif re.search(CODE_NAMES, name) and len(column.counts) > 1:
            yield name, "codes"


def _code_entries(
    tables: Sequence[DraftTable], ids: dict[str, str], has_visits: bool, notes: list[str]
) -> Iterator[CodesDraft]:
    for table in tables:
        if table.name not in ids or not table.codes:
            continue
        found = [table.first_date(words) for words in (START, DATE, ".")]
        dates = [one for one in found if one and one.filled >= EMPTY_SHARE * table.rows]
        visit = table.visit
        if not dates and not (has_visits and visit):
            notes.append(f"{table.name}: has codes and no date, so it is not used")
            continue
        table.roles[ids[table.name]] = "patient"
        for system, names in table.codes:
            entry: CodesDraft = {
                "table": table.name,
                "patient": ids[table.name],
                "system": system,
                "code": names[0] if len(names) == 1 else names,
            }
            table.roles |= dict.fromkeys(names, f"code ({system})")
            if dates:
                key: Literal["date", "month"] = "date" if dates[0].date_style else "month"
                entry[key] = dates[0].name
                table.roles[dates[0].name] = key
            if visit and has_visits:
                entry["visit"] = visit
                table.roles.setdefault(visit, "visit")
            doubt = next((one for one in table.named(SUSPECTED) if one.few_values), None)
            if doubt and system in ("ICD10", "ICD9CM"):
                entry["suspected"] = {"column": doubt.name, "values": _true_values(doubt.few_values)}
                table.roles[doubt.name] = "suspected"
            yield from _by_version(table, entry, notes)


def _true_values(values: Sequence[str]) -> list[str]:
    return [one for one in values if one.lower() in ("1", "true", "t", "y", "yes")] or list(values[-1:])


def _by_version(table: DraftTable, entry: CodesDraft, notes: list[str]) -> Iterator[CodesDraft]:
    """A column of ICD-9 and ICD-10 codes is read once for each, by the column that tells them apart."""
    flag = table.version
    if flag is None or entry["system"] not in ("ICD10", "ICD9CM"):
        yield entry
        return
    table.roles[flag.name] = "version"
    for system, numbers in (("ICD9CM", ("9",)), ("ICD10", ("10", ""))):  # some write 0 for ICD-10
        values = [one for one in flag.few_values if re.sub(r"\D", "", one).lstrip("0") in numbers]
        if values:
            yield {**entry, "system": system, "only": {"column": flag.name, "values": values}}
        else:
            notes.append(f"{table.name}.{flag.name}: no value was recognised as {system}")
