"""OMOP CDM 5.3 and 5.4, from files or from a database.

Each clinical table is one event per row. A row is known when the month in which its visit ends is over, as
claims are; where a type says that it comes from a health record, when the visit ends.
Source: OHDSI Common Data Model 5.4, https://ohdsi.github.io/CommonDataModel/cdm54.html.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
from ibis import _
from ibis.common.exceptions import TableNotFound

from claimscale.codes.systems import BIRTH, DEATH, SEX_PREFIX
from claimscale.config.sources import OmopSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import csv_checks as text
from claimscale.sources.casting import NO_TEXT, Expression, integer_of, number_of, text_of
from claimscale.sources.dates import month_end, timestamp_of
from claimscale.sources.raw import RawEvents, raw_events

MALE, FEMALE = 8507, 8532
FROM_RECORDS = (32817, 32818, 32827, 44818518)
"""Types of what a health record tells: EHR, admission note, encounter record, and an older name of it. What
is of another type, or of none, is taken for a claim: too late is safe, too early shows a model the future."""
PRELIMINARY = 32899
"""Condition status: Preliminary diagnosis."""
STAYS = (9201, 262, 8971, 8920, 32037)
"""Visit concepts: inpatient, emergency and inpatient, psychiatric, rehabilitation, intensive care."""
SYSTEM_OF_VOCABULARY = {
    "ICD10": "ICD10",
    "ICD10CM": "ICD10",
    "ICD10GM": "ICD10",
    "KCD7": "ICD10",
    "ICD9CM": "ICD9CM",
    "ICD9Proc": "ICD9PROC",
}
STARTED = dt.datetime.now().isoformat()


@dataclass(frozen=True)
class Domain:
    """A clinical table: what its columns begin with, its date, and a number if it has one."""

    table: str
    stem: str
    date: str
    value: str | None = None

    @property
    def type(self) -> str:
        """The column that says whether a row comes from a claim."""
        return f"{self.stem}_type_concept_id"


DOMAINS = (
    Domain("condition_occurrence", "condition", "condition_start_date"),
    Domain("drug_exposure", "drug", "drug_exposure_start_date"),
    Domain("procedure_occurrence", "procedure", "procedure_date"),
    Domain("measurement", "measurement", "measurement_date", "value_as_number"),
    Domain("observation", "observation", "observation_date", "value_as_number"),
    Domain("device_exposure", "device", "device_exposure_start_date"),
)
NEEDED = ("person",)
OPTIONAL = ("visit_occurrence", "observation_period", "death", "care_site", "concept")


def files_of(source: OmopSource) -> dict[str, list[Path]]:
    """The files of each table; of a database none. Raises BadInput for a missing folder or table."""
    if "://" in source.path:
        return {}
    folder = Path(source.path)
    if not folder.is_dir():
        raise BadInput(f"source.path: {folder} is not a folder")
    found: dict[str, list[Path]] = {}
    for name in (*NEEDED, *OPTIONAL, *(domain.table for domain in DOMAINS)):
        files = [
            file
            for place in sorted(folder.iterdir())
            if (place.stem if place.is_file() else place.name).lower() == name
            for file in (sorted(place.iterdir()) if place.is_dir() else [place])
            if file.suffix.lower() in (".parquet", ".csv")
        ]
        if len({file.suffix.lower() for file in files}) > 1:
            raise BadInput(f"source.path: {folder} holds table {name} as CSV and as Parquet")
        if files:
            found[name] = files
    for name in NEEDED:
        if name not in found:
            raise BadInput(f"source.path: {folder} holds no table {name} (.parquet or .csv)")
    return found


def depends_on(source: OmopSource) -> Any:
    """Of a database in a file its size and age. Others are read again by every run: who knows their age?"""
    if "://" not in source.path:
        return None
    file = Path(source.path.partition("://")[2])
    if source.path.startswith("duckdb://") and file.is_file():
        return [file.stat().st_size, file.stat().st_mtime_ns]
    return STARTED


class _Tables:
    """The tables of the source, column names in lower case."""

    def __init__(self, source: OmopSource, engine: Engine, scratch: Path) -> None:
        self.engine = engine
        self.codes = source.codes
        if "://" in source.path:
            self.tables = _from_database(source.path, engine, scratch)
        else:
            self.tables = {name: _opened(files, engine, scratch) for name, files in files_of(source).items()}

    def has(self, name: str) -> bool:
        return name in self.tables

    def __getitem__(self, name: str) -> ir.Table:
        return self.tables[name]

    def column(self, table: str, name: str) -> Expression:
        """A column as it is. Raises BadInput if the table lacks it."""
        if name not in self.tables[table].columns:
            raise BadInput(f"source.path: table {table} has no column {name}")
        return self.tables[table][name]

    def id(self, table: str, name: str, *, optional: bool = False) -> Expression:
        """A column of integers, whatever the file stores them as; null where it is empty or lacks it."""
        if optional and name not in self.tables[table].columns:
            return ibis.null("int64")
        return integer_of(self.column(table, name))

    def text(self, table: str, name: str) -> Expression:
        if name not in self.tables[table].columns:
            return NO_TEXT
        return text_of(self.tables[table][name])


def _opened(files: list[Path], engine: Engine, scratch: Path) -> ir.Table:
    is_csv = files[0].suffix.lower() == ".csv"
    table = engine.read_csv(text.checked(files, "utf-8", scratch)) if is_csv else engine.read_parquet(files)
    return table.rename({name.lower(): name for name in table.columns})


def _from_database(url: str, engine: Engine, scratch: Path) -> dict[str, ir.Table]:
    """Tables of a database, copied to Parquet in `scratch`. Raises BadInput if it cannot be reached."""
    wanted = (*NEEDED, *OPTIONAL, *(domain.table for domain in DOMAINS))
    copies: dict[str, ir.Table] = {}
    try:
        database: Expression = ibis.connect(url)
        for name in wanted:
            # Asked for one by one: Ibis 12 cannot list the tables of DuckDB 2.
            for spelt in (name, name.upper()):
                with contextlib.suppress(TableNotFound):
                    database.to_parquet(database.table(spelt), scratch / f"{name}.parquet")
                    break
        database.disconnect()
    except Exception as error:  # every database has exceptions of its own
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"source.path: the database cannot be read ({type(error).__name__}: {cause})"
        ) from None
    for name in wanted:
        if (scratch / f"{name}.parquet").exists():
            table = engine.read_parquet(scratch / f"{name}.parquet")
            copies[name] = table.rename({column.lower(): column for column in table.columns})
    for name in NEEDED:
        if name not in copies:
            raise BadInput(f"source.path: the database has no table {name}")
    return copies


def read(source: OmopSource, engine: Engine, scratch: Path) -> RawEvents:
    """All clinical tables as raw events; `person_id` is the subject id."""
    tables = _Tables(source, engine, scratch)
    parts = [_people(tables)]
    rows: dict[str, dict] = {name: {"rows": tables.engine.count(tables[name])} for name in tables.tables}
    for name in ("care_site", "concept", "observation_period"):
        if tables.has(name):
            rows[name]["without_event"] = {"looked up": rows[name]["rows"]}
    if tables.has("death"):
        parts.append(_deaths(tables))
    visits = None
    if tables.has("visit_occurrence"):
        visits = _visits(tables)
        stays = visits.filter(_.is_stay)
        parts.append(_stays(stays))
        outpatient = rows["visit_occurrence"]["rows"] - tables.engine.count(stays)
        rows["visit_occurrence"]["without_event"] = {"visit that is no stay": outpatient}
    parts += [_events(tables, domain, visits) for domain in DOMAINS if tables.has(domain.table)]
    return RawEvents(
        ibis.union(*parts),
        rows,
        patients=tables["person"].select(patient=tables.id("person", "person_id")),
        events=sum(account["rows"] for account in rows.values()),
        observation=_observation(tables),
    )


def _people(tables: _Tables) -> ir.Table:
    person = tables["person"]
    year = tables.id("person", "year_of_birth")
    month, day = (tables.id("person", f"{unit}_of_birth", optional=True) for unit in ("month", "day"))
    parts = [part.cast("string").lpad(width, "0") for part, width in _padded(year, month, day)]
    birth = parts[0].concat("-", parts[1], "-", parts[2]).try_cast("date").cast("timestamp(6)")
    gender = tables.id("person", "gender_concept_id", optional=True)
    known = person.select(
        patient=tables.id("person", "person_id"),
        birth=birth,
        sex=ibis.cases(
            (gender.isin([MALE]), SEX_PREFIX + "M"),
            (gender.isin([FEMALE]), SEX_PREFIX + "F"),
            else_=SEX_PREFIX + "U",
        ),
    )
    fault = ibis.ifelse(_.birth.isnull(), "unreadable date", NO_TEXT)
    codes = (BIRTH, _.sex)
    told = (raw_events(known, code=code, time=_.birth, origin="person", fault=fault) for code in codes)
    return ibis.union(*told)


def _padded(year: Expression, month: Expression, day: Expression) -> list[tuple[Expression, int]]:
    """A month or day that is not known is the first."""
    return [(year, 4), (ibis.coalesce(month, 1), 2), (ibis.coalesce(day, 1), 2)]


def _deaths(tables: _Tables) -> ir.Table:
    day = timestamp_of(tables.column("death", "death_date"))
    dead = tables["death"].select(patient=tables.id("death", "person_id"), day=day)
    fault = ibis.ifelse(_.day.isnull(), "unreadable date", NO_TEXT)
    return raw_events(dead, code=DEATH, time=_.day, origin="death", fault=fault)


def _visits(tables: _Tables) -> ir.Table:
    name = "visit_occurrence"
    start, end = (timestamp_of(tables.column(name, f"visit_{edge}_date")) for edge in ("start", "end"))
    visits = tables[name].select(
        visit=tables.id(name, "visit_occurrence_id"),
        patient=tables.id(name, "person_id"),
        start=start,
        end=end,
        visit_id=ibis.coalesce(
            tables.text(name, "visit_source_value"), tables.text(name, "visit_occurrence_id")
        ),
        site=tables.id(name, "care_site_id", optional=True),
        is_stay=tables.id(name, "visit_concept_id").isin(list(STAYS)).fill_null(False),
        is_record=tables.id(name, "visit_type_concept_id", optional=True).isin(list(FROM_RECORDS)),
    )
    visits = visits.mutate(is_record=_.is_record.fill_null(False), over=ibis.coalesce(_.end, _.start))
    visits = visits.mutate(known=ibis.ifelse(_.is_record, _.over, month_end(_.over)))
    if not tables.has("care_site"):
        return visits.mutate(hospital_id=_.site.cast("string"))
    sites = tables["care_site"].select(
        care_site=tables.id("care_site", "care_site_id"),
        site_name=tables.text("care_site", "care_site_source_value"),
    )
    sites = sites.group_by("care_site").aggregate(site_name=_.site_name.min())
    joined = visits.left_join(sites, [("site", "care_site")])
    return joined.mutate(hospital_id=ibis.coalesce(_.site_name, _.site.cast("string")))


def _stays(stays: ir.Table) -> ir.Table:
    fault = ibis.cases(
        (_.start.isnull(), "unreadable date"), (_.end < _.start, "end before start"), else_=NO_TEXT
    )
    shared = {
        "visit_id": _.visit_id,
        "hospital_id": _.hospital_id,
        "origin": "visit_occurrence",
        "fault": fault,
    }
    admitted = raw_events(
        stays,
        code="VISIT//ADMISSION",
        time=_.start,
        available_at=ibis.coalesce(_.known, _.start),
        **shared,
    )
    discharged = raw_events(
        stays.filter(_.end.notnull()),
        code="VISIT//DISCHARGE",
        time=_.end,
        available_at=_.known,
        **shared,
    )
    return ibis.union(admitted, discharged)


def _events(tables: _Tables, domain: Domain, visits: ir.Table | None) -> ir.Table:
    """One event per row of a clinical table."""
    name, stem = domain.table, domain.stem
    status = tables.id(name, "condition_status_concept_id", optional=True)
    number, is_no_number = ibis.null("float32"), ibis.literal(False)
    if domain.value:
        number, is_no_number = number_of(tables.column(name, domain.value))
    rows = tables[name].select(
        patient=tables.id(name, "person_id"),
        time=timestamp_of(tables.column(name, domain.date)),
        is_told=tables.text(name, domain.date).notnull(),
        standard=tables.id(name, f"{stem}_concept_id"),
        own=tables.id(name, f"{stem}_source_concept_id", optional=True),
        source_value=tables.text(name, f"{stem}_source_value"),
        of_visit=tables.id(name, "visit_occurrence_id", optional=True),
        suspected=status.isin([PRELIMINARY]).fill_null(False),
        numeric_value=number,
        is_no_number=is_no_number,
        is_record=tables.id(name, domain.type, optional=True).isin(list(FROM_RECORDS)).fill_null(False),
    )
    rows = _coded(tables, rows)
    known = ibis.ifelse(_.is_record, _.time, month_end(_.time))
    details: dict[str, Expression] = {"available_at": known, "visit_id": NO_TEXT, "hospital_id": NO_TEXT}
    if visits is not None:
        seen = visits.group_by("visit").aggregate(
            known=_.known.max(),
            of_record=_.is_record.any(),
            visit_id=_.visit_id.min(),
            hospital_id=_.hospital_id.min(),
        )
        rows = rows.left_join(seen, [("of_visit", "visit")])
        of_claim = ibis.greatest(ibis.coalesce(_.known, _.time), month_end(_.time))
        details = {
            "available_at": ibis.cases(
                (_.of_record, ibis.coalesce(_.known, _.time)), (_.known.notnull(), of_claim), else_=known
            ),
            "visit_id": _.visit_id,
            "hospital_id": _.hospital_id,
        }
    fault = ibis.cases(
        (_.is_told & _.time.isnull(), "unreadable date"), (_.is_no_number, "unreadable value"), else_=NO_TEXT
    )
    kept = {column: _[column] for column in ("time", "code", "suspected", "numeric_value")}
    return raw_events(rows, origin=name, fault=fault, **kept, **details)


def _coded(tables: _Tables, rows: ir.Table) -> ir.Table:
    """The code of each row, in the source's own system or the standard one; null if the row has neither."""
    first: Expression
    second: Expression
    first, second = (_.own, _.standard) if tables.codes == "source" else (_.standard, ibis.null("int64"))
    rows = rows.mutate(concept=ibis.coalesce(first.nullif(0), second.nullif(0)))
    value = ibis.ifelse(_.source_value.notnull(), "SOURCE//" + _.source_value, NO_TEXT)
    if tables.codes == "standard":
        value = NO_TEXT
    if not tables.has("concept"):
        number = "CONCEPT//" + _.concept.cast("string")
        return rows.mutate(code=ibis.coalesce(number, value))
    vocabulary = text_of(tables.column("concept", "vocabulary_id"))
    known: Expression = ibis.cases(
        *((vocabulary == name, system) for name, system in SYSTEM_OF_VOCABULARY.items()),
        else_=vocabulary.replace(" ", ""),
    )
    concepts = tables["concept"].select(
        concept_id=tables.id("concept", "concept_id"),
        named=known.concat("//", text_of(tables.column("concept", "concept_code"))),
    )
    # A concept listed twice must not double its events.
    concepts = concepts.group_by("concept_id").aggregate(named=_.named.min())
    joined = rows.left_join(concepts, [("concept", "concept_id")])
    return joined.mutate(code=ibis.coalesce(_.named, value))


def _observation(tables: _Tables) -> ir.Table | None:
    name = "observation_period"
    if not tables.has(name):
        return None
    first, last = (timestamp_of(tables.column(name, f"{name}_{edge}_date")) for edge in ("start", "end"))
    return tables[name].select(patient=tables.id(name, "person_id"), start=first, end=last)
