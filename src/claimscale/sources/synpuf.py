"""DE-SynPUF: the synthetic claims that CMS publishes, in five kinds of CSV file.

Any number of diagnosis columns is read. Codes are dated to the start of their claim and available at its end
(for a hospital stay, at the discharge).
Source: CMS Linkable 2008-2010 Medicare DE-SynPUF, codebook.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _, selectors

from claimscale.artifacts import make_folder
from claimscale.codes.systems import BIRTH, DEATH, SEPARATOR, SEX_PREFIX
from claimscale.config.sources import SynpufSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import csv_checks
from claimscale.sources.casting import NO_TEXT, Expression
from claimscale.sources.raw import RawEvents, TableRows, raw_events
from claimscale.sources.table_files import folder_of

FILES = {
    "beneficiary": "*Beneficiary_Summary*.csv",
    "inpatient": "*Inpatient_Claims*.csv",
    "outpatient": "*Outpatient_Claims*.csv",
    "carrier": "*Carrier_Claims*.csv",
    "drug": "*Prescription_Drug_Events*.csv",
}

SYSTEM_OF_COLUMN = {
    r"(LINE_)?ICD9_DGNS_CD_\d+|ADMTNG_ICD9_DGNS_CD": "ICD9CM",
    r"ICD9_PRCDR_CD_\d+": "ICD9PROC",
    r"HCPCS_CD_\d+": "HCPCS",
    r"PROD_SRVC_ID": "NDC",
}

COVERAGE = ("BENE_HI_CVRAGE_TOT_MONS", "BENE_SMI_CVRAGE_TOT_MONS")


@dataclass(frozen=True)
class ClaimColumns:
    """The columns of a kind of claim. A kind without a provider has no hospital."""

    claim: str
    start: str
    end: str
    provider: str | None
    is_visit: bool


CLAIMS = {
    # An empty discharge is replaced by the claim's last day.
    "inpatient": ClaimColumns("CLM_ID", "CLM_FROM_DT", "NCH_BENE_DSCHRG_DT", "PRVDR_NUM", is_visit=True),
    "outpatient": ClaimColumns("CLM_ID", "CLM_FROM_DT", "CLM_THRU_DT", "PRVDR_NUM", is_visit=True),
    "carrier": ClaimColumns("CLM_ID", "CLM_FROM_DT", "CLM_THRU_DT", None, is_visit=True),
    "drug": ClaimColumns("PDE_ID", "SRVC_DT", "SRVC_DT", None, is_visit=False),
}


def files_of(source: SynpufSource) -> dict[str, list[Path]]:
    """The folder's files by kind. Raises BadInput when the folder, or every file of a kind, is missing."""
    folder = folder_of(source.path)
    files = {
        kind: sorted({*folder.glob(pattern), *folder.glob(pattern + ".gz")})
        for kind, pattern in FILES.items()
    }
    for kind, found in files.items():
        if not found:
            raise BadInput(f"source.path: {folder} holds no {kind} file ({FILES[kind]})")
    return files


def read(source: SynpufSource, engine: Engine, scratch: Path) -> RawEvents:
    """All five kinds of file as raw events. Raises BadInput for missing files or columns.

    Beneficiaries are listed once per year. Validation drops the repeated births and sexes.
    """
    files = files_of(source)
    parsed = scratch / "parsed"
    make_folder(parsed)
    rows: dict[str, TableRows] = {}
    for kind, found in files.items():
        table = _upper_case(engine.read_csv(*csv_checks.checked(found, "utf-8", parsed)))
        _check_columns(table, kind, found[0])
        events = _beneficiary_events(table) if kind == "beneficiary" else _claim_events(table, kind)
        events = events.mutate(source_table=ibis.literal(kind))
        # Text is parsed once, because the events are read several times.
        engine.write_parquet(events, parsed / f"{kind}.parquet")
        rows[kind] = {"rows": engine.count(table)}
    observation = _coverage(files["beneficiary"], engine)
    return RawEvents(engine.read_parquet(parsed / "*.parquet"), rows, observation=observation)


def _coverage(files: list[Path], engine: Engine) -> ir.Table | None:
    """The years in which each beneficiary had months of hospital (HI) and of medical (SMI) insurance.

    Files give the number of months, not which, and the year in their names. None if they give neither.
    """
    years = []
    for file in files:
        table: Expression = _upper_case(engine.read_csv(*csv_checks.checked([file], "utf-8", file.parent)))
        year = re.search(r"_(20\d\d)_", file.name)
        if year is None or not {*COVERAGE, "BENE_DEATH_DT"} <= set(table.columns):
            continue
        insured = table.filter(*(table[column].try_cast("int64") > 0 for column in COVERAGE))
        first, last = (_timestamp(ibis.literal(year[1] + day)) for day in ("0101", "1231"))
        died = ibis.coalesce(_month_end(insured.BENE_DEATH_DT), last)
        periods = insured.select(
            patient=insured.DESYNPUF_ID.strip().nullif(""),
            start=first,
            end=ibis.ifelse(died < last, died, last),
        )
        years.append(periods)
    return ibis.union(*years) if len(years) > 1 else (years or [None])[0]


def _upper_case(table: ir.Table) -> ir.Table:
    """The table with column names in upper case, as CMS writes them."""
    return table.rename({name.upper(): name for name in table.columns if name != name.upper()})


def _check_columns(table: ir.Table, kind: str, file: Path) -> None:
    needed = ["DESYNPUF_ID"]
    if kind == "beneficiary":
        needed += ["BENE_BIRTH_DT", "BENE_DEATH_DT", "BENE_SEX_IDENT_CD"]
    else:
        columns = CLAIMS[kind]
        needed += [columns.claim, columns.start, columns.end]
        needed += [columns.provider] if columns.provider else []
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise BadInput(f"{file}: has no column {', '.join(missing)}")


def _beneficiary_events(table: ir.Table) -> ir.Table:
    """Birth and sex of each row, and death where there is one: a row per beneficiary and year."""
    people = table.select(
        patient=_.DESYNPUF_ID.strip().nullif(""),
        birth=_timestamp(_.BENE_BIRTH_DT),
        # Deaths are recorded as the first day of their month. Claims of that month must not be after death.
        death=_month_end(_.BENE_DEATH_DT),
        is_dead=_.BENE_DEATH_DT.strip().nullif("").notnull(),
        sex=SEX_PREFIX + _.BENE_SEX_IDENT_CD.strip().cases(("1", "M"), ("2", "F"), else_="U"),
    )
    births = raw_events(people, code=ibis.literal(BIRTH), time=_.birth, available_at=_.birth)
    sexes = raw_events(people, code=_.sex, time=_.birth, available_at=_.birth)
    dead = people.filter(_.is_dead)
    deaths = raw_events(dead, code=ibis.literal(DEATH), time=_.death, available_at=_.death)
    return ibis.union(births, sexes, deaths)


def _claim_events(table: ir.Table, kind: str) -> ir.Table:
    """One event per filled code cell, and one for the visit.

    Drug rows make no visit. An empty drug cell is kept, and validation counts a missing code.
    """
    columns = CLAIMS[kind]
    systems = {
        column: system
        for column in table.columns
        for pattern, system in SYSTEM_OF_COLUMN.items()
        if re.fullmatch(pattern, column)
    }
    if not systems:
        raise BadInput(f"source.path: the {kind} files have no column of codes")
    ends = [name for name in (columns.end, "CLM_THRU_DT", columns.start) if name in table.columns]
    claims = table.select(
        *systems,
        patient=_.DESYNPUF_ID.strip().nullif(""),
        time=_timestamp(_[columns.start]),
        available_at=ibis.coalesce(*(_timestamp(_[column]) for column in ends)),
        visit_id=_[columns.claim].strip(),
        hospital_id=_[columns.provider].strip().nullif("") if columns.provider else NO_TEXT,
    )
    cells = claims.pivot_longer(selectors.cols(*systems), names_to="column", values_to="cell")
    cells = cells.mutate(cell=_.cell.strip().upper().replace(".", "").nullif(""))
    if columns.is_visit:
        cells = cells.filter(_.cell.notnull())
    prefix = _.column.cases(*((column, system + SEPARATOR) for column, system in systems.items()))
    where = {name: _[name] for name in ("time", "available_at", "visit_id", "hospital_id")}
    events = raw_events(cells, code=prefix + _.cell, **where)
    if not columns.is_visit:
        return events
    return ibis.union(events, raw_events(claims, code=ibis.literal(f"VISIT//{kind.upper()}"), **where))


def _month_end(digits: Expression) -> Expression:
    return _timestamp(digits) + ibis.interval(months=1) - ibis.interval(days=1)


def _timestamp(digits: Expression) -> Expression:
    """YYYYMMDD as a timestamp; null for anything else."""
    digits = digits.strip()
    iso = digits.substr(0, 4).concat("-", digits.substr(4, 2), "-", digits.substr(6, 2))
    day = digits.re_search(r"^\d{8}$").ifelse(iso, NO_TEXT).try_cast("date")
    return day.cast("timestamp(6)")
