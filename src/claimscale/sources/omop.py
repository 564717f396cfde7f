"""OMOP CDM 5.3 and 5.4: one event per row of each clinical table.

A row is available when the month in which its visit ends is over, as claims are. A row whose type says that
it comes from a health record is available when the visit ends. Source: OHDSI Common Data Model 5.4,
https://ohdsi.github.io/CommonDataModel/cdm54.html.
"""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.codes.systems import ADMISSION, BIRTH, DEATH, DISCHARGE, SEX_PREFIX
from claimscale.config.sources import FIRST_CONTACT, OmopSource
from claimscale.engine import Engine
from claimscale.sources.casting import NO_TEXT, Expression, number_of
from claimscale.sources.dates import birth_of, month_end, timestamp_of
from claimscale.sources.issues import UNLISTED_CONCEPT
from claimscale.sources.omop_codes import PairCodes, pair_codes, pair_of
from claimscale.sources.omop_tables import (
    DOMAINS,
    VOCABULARY,
    OmopDomain,
    OmopTables,
    files_of,
    other_inputs,
)
from claimscale.sources.raw import RawEvents, RowCounts, raw_events

__all__ = ["files_of", "other_inputs", "read"]

MALE, FEMALE = 8507, 8532
HEALTH_RECORD_TYPES = (32817, 32818, 32827, 44818518)
"""EHR, admission note, encounter record, and an older name of it. Rows of other types, or without a type,
count as claims: a late availability is safe, an early one would show a model the future."""
PRELIMINARY = 32899
"""Condition status: preliminary diagnosis."""
STAYS = (9201, 262, 8717, 8971, 8920, 32037)
"""Visit concepts: inpatient, emergency and inpatient, inpatient hospital, psychiatric, rehabilitation,
intensive care. They are stays of any length, also without an end."""
OUTPATIENT = (9202, 581477, 581476, 5083, 581458, 32036, 581478)
"""Visit concepts: outpatient, office, home, telehealth, pharmacy, laboratory, ambulance. A claim may run over
a month of such visits, which is no stay. Visits of all other concepts are stays if they last a night."""


def read(source: OmopSource, engine: Engine, scratch: Path) -> RawEvents:
    """All clinical tables as raw events; `person_id` is the subject id."""
    tables = OmopTables(source, engine, scratch)
    counts = RowCounts()
    codes = pair_codes(tables, scratch)
    counted = codes.rows if codes else {}
    counts.rows.update(
        {name: counted.get(name) or engine.count(table) for name, table in tables.tables.items()}
    )
    for name in ("care_site", "observation_period", *VOCABULARY):
        if tables.has(name):
            counts.no_event(name, "reference table", counts.rows[name])
    events = [_people(tables)]
    if tables.has("death"):
        events.append(_deaths(tables))
    visits = None
    if tables.has("visit_occurrence"):
        visits = _visits(tables)
        stays = visits.filter(_.is_stay)
        events.append(_stays(stays))
        others = counts.rows["visit_occurrence"] - engine.count(stays)
        counts.no_event("visit_occurrence", "not an inpatient stay", others)
    events += [
        _domain_events(tables, domain, visits, codes) for domain in DOMAINS if tables.has(domain.table)
    ]
    return RawEvents(
        ibis.union(*events),
        counts.tables(),
        patients=tables["person"].select(patient=tables.person("person")["patient"]),
        events=counts.rows.total(),
        observation=_observation(tables),
        warnings=_unknown_genders(tables) | dict(codes.warnings if codes else {}),
        anchors=None if source.anchor == FIRST_CONTACT else _anchors(tables, source.anchor.strip().lower()),
    )


def _issue(*others: tuple[Expression, str]) -> Expression:
    """The first issue that applies; `is_unreadable` marks rows whose person id cannot be read."""
    return ibis.cases((_.is_unreadable, "unreadable id"), *others, else_=NO_TEXT)


def _people(tables: OmopTables) -> ir.Table:
    """Birth and sex of each person. A month or day that is not known is the first."""
    year = tables.id("person", "year_of_birth")
    month, day = (tables.id("person", f"{unit}_of_birth", optional=True) for unit in ("month", "day"))
    padded = ((year, 4), (ibis.coalesce(month, 1), 2), (ibis.coalesce(day, 1), 2))
    parts: list[Expression] = [part.cast("string").lpad(width, "0") for part, width in padded]
    gender = tables.id("person", "gender_concept_id", optional=True)
    people = tables["person"].select(
        **tables.person("person"),
        birth=parts[0].concat("-", parts[1], "-", parts[2]).try_cast("date").cast("timestamp(6)"),
        sex=ibis.cases(
            (gender.isin([MALE]), SEX_PREFIX + "M"),
            (gender.isin([FEMALE]), SEX_PREFIX + "F"),
            else_=SEX_PREFIX + "U",
        ),
    )
    issue = _issue((_.birth.isnull(), "unreadable date"))
    return ibis.union(
        *(
            raw_events(people, code=code, time=_.birth, source_table="person", issue=issue)
            for code in (BIRTH, _.sex)
        )
    )


def _unknown_genders(tables: OmopTables) -> dict[str, int]:
    """Persons by each gender concept that is neither male nor female."""
    gender = tables.id("person", "gender_concept_id", optional=True)
    others = tables["person"].select(gender=gender).filter(_.gender.notnull(), ~_.gender.isin([MALE, FEMALE]))
    found = tables.engine.to_arrow(others.group_by("gender").aggregate(rows=_.count()).order_by("gender"))
    return {
        f"person.gender_concept_id: {row['gender']} taken for neither male nor female": row["rows"]
        for row in found.to_pylist()
    }


def _anchors(tables: OmopTables, column: str) -> ir.Table:
    anchor = birth_of(tables.column("person", column))
    return tables["person"].select(patient=tables.person("person")["patient"], anchor=anchor)


def _deaths(tables: OmopTables) -> ir.Table:
    day = timestamp_of(tables.column("death", "death_date"))
    dead = tables["death"].select(**tables.person("death"), day=day)
    issue = _issue((_.day.isnull(), "unreadable date"))
    return raw_events(dead, code=DEATH, time=_.day, source_table="death", issue=issue)


def _visits(tables: OmopTables) -> ir.Table:
    """All visits with their period, hospital, availability (`known`) and whether they are stays."""
    name = "visit_occurrence"
    start, end = tables.period(name, "visit")
    visits = tables[name].select(
        **tables.person(name),
        visit=tables.visit(name),
        start=start,
        end=end,
        visit_id=ibis.coalesce(
            tables.text(name, "visit_source_value"), tables.text(name, "visit_occurrence_id")
        ),
        site=tables.id(name, "care_site_id", optional=True),
        is_stay=_is_stay(tables, start, end),
        is_record=_is_record(tables, name, "visit"),
    )
    visits = visits.mutate(over=ibis.coalesce(_.end, _.start))
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


def _is_stay(tables: OmopTables, start: Expression, end: Expression) -> Expression:
    """Whether a visit is a stay: by its concept, or by a night between its start and its end."""
    concept = tables.id("visit_occurrence", "visit_concept_id").fill_null(0)
    if tables.stays is not None:
        return concept.isin(tables.stays)
    return concept.isin(list(STAYS)) | (~concept.isin(list(OUTPATIENT)) & (end > start).fill_null(False))


def _is_record(tables: OmopTables, table: str, stem: str) -> Expression:
    kind = tables.id(table, f"{stem}_type_concept_id", optional=True)
    return kind.isin(list(HEALTH_RECORD_TYPES)).fill_null(False)


def _stays(stays: ir.Table) -> ir.Table:
    """Admission and discharge of each stay."""
    issue = _issue((_.start.isnull(), "unreadable date"), (_.end < _.start, "end before start"))
    shared = {name: _[name] for name in ("visit_id", "hospital_id")}
    shared |= {"source_table": "visit_occurrence", "issue": issue}
    available = ibis.coalesce(_.known, _.start)
    admissions = raw_events(stays, code=ADMISSION, time=_.start, available_at=available, **shared)
    ended = stays.filter(_.end.notnull())
    discharges = raw_events(ended, code=DISCHARGE, time=_.end, available_at=_.known, **shared)
    return ibis.union(admissions, discharges)


def _domain_events(
    tables: OmopTables, domain: OmopDomain, visits: ir.Table | None, codes: PairCodes | None
) -> ir.Table:
    """One event per row of a clinical table."""
    name, stem = domain.table, domain.stem
    status = tables.id(name, "condition_status_concept_id", optional=True)
    number, is_no_number = ibis.null("float32"), ibis.literal(False)
    if domain.value:
        number, is_no_number = number_of(tables.column(name, domain.value))
    rows = tables[name].select(
        **tables.person(name),
        time=timestamp_of(tables.column(name, domain.date)),
        has_date=tables.text(name, domain.date).notnull(),
        **pair_of(tables, domain),
        source_value=tables.text(name, f"{stem}_source_value"),
        of_visit=tables.visit(name),
        suspected=status.isin([PRELIMINARY]).fill_null(False),
        numeric_value=number,
        is_no_number=is_no_number,
        is_record=_is_record(tables, name, stem),
    )
    rows = _with_codes(tables, domain, rows, codes)
    available = ibis.ifelse(_.is_record, _.time, month_end(_.time))
    details: dict[str, Expression] = {"available_at": available, "visit_id": NO_TEXT, "hospital_id": NO_TEXT}
    if visits is not None:
        found = visits.group_by("visit").aggregate(
            known=_.known.max(),
            of_record=_.is_record.any(),
            visit_id=_.visit_id.min(),
            hospital_id=_.hospital_id.min(),
        )
        rows = rows.left_join(found, [("of_visit", "visit")])
        of_claim = ibis.greatest(ibis.coalesce(_.known, _.time), month_end(_.time))
        details = {name: _[name] for name in ("visit_id", "hospital_id")}
        details["available_at"] = ibis.cases(
            (_.of_record, ibis.coalesce(_.known, _.time)), (_.known.notnull(), of_claim), else_=available
        )
    issue = _issue(
        (_.has_date & _.time.isnull(), "unreadable date"),
        (_.is_no_number, "unreadable value"),
        (_.is_unlisted & _.code.isnull(), UNLISTED_CONCEPT),
    )
    kept = {column: _[column] for column in ("time", "code", "suspected", "numeric_value")}
    return raw_events(rows, source_table=domain.table, issue=issue, **kept, **details)


def _with_codes(tables: OmopTables, domain: OmopDomain, rows: ir.Table, codes: PairCodes | None) -> ir.Table:
    """The rows with `code`, null if a row has none, and `is_unlisted`."""
    is_standard = tables.codes == "standard"
    value = NO_TEXT if is_standard else "SOURCE//" + _.source_value
    if codes is not None:
        return codes.join(rows, domain).mutate(code=ibis.coalesce(_.named, value))
    concept: Expression = _.standard if is_standard else ibis.coalesce(_.own.nullif(0), _.standard)
    named = "CONCEPT//" + concept.nullif(0).cast("string")
    return rows.mutate(code=ibis.coalesce(named, value), is_unlisted=ibis.literal(False))


def _observation(tables: OmopTables) -> ir.Table | None:
    name = "observation_period"
    if not tables.has(name):
        return None
    start, end = tables.period(name, name)
    return tables[name].select(patient=tables.person(name)["patient"], start=start, end=end)
