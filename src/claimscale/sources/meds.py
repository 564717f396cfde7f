"""MEDS datasets, versions 0.3 and 0.4: `data/**/*.parquet` with subject_id, time, code and numeric_value.

The further columns hospital_id, visit_id, available_at and suspected are read if they exist. Rows without a
time are facts about a subject. Sex becomes an event at birth; other facts make no event. Source:
Medical-Event-Data-Standard/meds, schemas of 0.3 and 0.4.
"""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.config.sources import MedsSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.casting import NO_TEXT, Expression, integer_of, is_unreadable
from claimscale.sources.raw import EVENT_SCHEMA, RawEvents, raw_events
from claimscale.sources.table_files import folder_of, lower_case

NEEDED = ("subject_id", "time", "code")
TABLE = "data"
NO_TIME = "fact without a time"
SEX_CODES = r"(?i)^(SEX|GENDER)//"
SEXES = {"M": ("m", "male", "man", "8507"), "F": ("f", "female", "woman", "8532")}


def files_of(source: MedsSource) -> dict[str, list[Path]]:
    """The shards. Raises BadInput when the folder is missing or holds none."""
    folder = folder_of(source.path)
    shards = sorted((folder / "data").rglob("*.parquet"))
    if not shards:
        raise BadInput(f"source.path: {folder} holds no MEDS data (data/*.parquet)")
    return {TABLE: shards}


def read(source: MedsSource, engine: Engine, scratch: Path) -> RawEvents:
    """All shards as raw events. Raises BadInput for missing columns and ids that are no integers."""
    files = files_of(source)[TABLE]
    table = lower_case(engine.read_parquet(files), files[0])
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise BadInput(f"{files[0]}: has no column {', '.join(missing)}")
    if not (table.subject_id.type().is_integer() or table.subject_id.type().is_decimal()):
        raise BadInput(f"{files[0]}: subject_id holds {table.subject_id.type()}, not integers")
    given = [name for name in EVENT_SCHEMA if name in table.columns and name != "subject_id"]
    _check_types(table, given, files[0])
    rows = _marked(table)
    without = rows.filter(_.time.isnull(), ~_.is_sex, _.code.notnull())
    count = engine.count(rows)
    reasons = {NO_TIME: engine.count(without)}
    return RawEvents(events_of(table), {TABLE: {"rows": count, "without_event": reasons}}, events=count)


def events_of(table: ir.Table) -> ir.Table:
    """Raw events from the columns of a MEDS dataset."""
    rows = _marked(table)
    timed = rows.filter(_.time.notnull() | _.code.isnull())
    given = [name for name in (*EVENT_SCHEMA, "issue") if name in rows.columns]
    details: dict[str, Expression] = {name: timed[name] for name in given}
    if "available_at" in given:
        details["available_at"] = ibis.coalesce(timed.available_at, timed.time)
    return ibis.union(raw_events(timed, source_table=TABLE, **details), _sexes(rows.filter(_.is_sex), timed))


def _marked(table: ir.Table) -> ir.Table:
    """The rows with `patient`, `issue`, and `is_sex` for facts that are a sex."""
    patient = integer_of(table.subject_id)
    issue = is_unreadable(table.subject_id, patient).ifelse("unreadable id", NO_TEXT)
    given = [name for name in EVENT_SCHEMA if name in table.columns and name != "subject_id"]
    rows = table.select(patient=patient, issue=issue, **{name: table[name] for name in given})
    code: Expression = rows.code
    return rows.mutate(is_sex=rows.time.isnull() & code.re_search(SEX_CODES))


def _check_types(table: ir.Table, columns: list[str], file: Path) -> None:
    """Raises BadInput for a column whose type is not that of MEDS."""
    for name in columns:
        wanted, found = EVENT_SCHEMA[name], table[name].type()
        fits = (
            (found.is_timestamp() or found.is_date() if wanted.is_timestamp() else False)
            or (wanted.is_numeric() and not wanted.is_boolean() and found.is_numeric())
            or (wanted.is_string() and found.is_string())
            or (wanted.is_boolean() and found.is_boolean())
            or found.is_null()
        )
        if not fits:
            raise BadInput(f"{file}: {name} holds {found}, not {wanted}")


def _sexes(rows: ir.Table, timed: ir.Table) -> ir.Table:
    """Sex, dated to the birth. Without a birth the time stays null and the row is quarantined."""
    births = timed.filter(_.code == BIRTH).group_by("patient").aggregate(birth=_.time.min())
    code: Expression = rows.code
    value = code.re_replace(SEX_CODES, "").lower()
    sex = ibis.cases(
        *((value.isin(list(words)), SEX_PREFIX + sex) for sex, words in SEXES.items()), else_=SEX_PREFIX + "U"
    )
    known = rows.select("patient", "issue", sex=sex).left_join(births, "patient")
    return raw_events(known, time=_.birth, code=_.sex, source_table=TABLE, issue=_.issue)
