"""Electronic receipts (レセプト電算処理, UKE files of 医科 and DPC) as raw events.

A receipt is a patient's claim of one month at one facility. Its events are available when the month is over.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow.parquet as pq
from ibis import _

from claimscale.artifacts import make_folder
from claimscale.codes.systems import ADMISSION, BIRTH, DEATH, SEX_PREFIX
from claimscale.config.sources import ReceiptSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.casting import NO_TEXT, Expression
from claimscale.sources.japan import masters as master_files
from claimscale.sources.japan.receipt_parsing import parse_files
from claimscale.sources.japan.receipt_records import NOT_MEDICAL
from claimscale.sources.raw import RawEvents, raw_events
from claimscale.sources.table_files import folder_of


def files_of(source: ReceiptSource) -> dict[str, list[Path]]:
    """All UKE files below the folder, and the masters. Raises BadInput if there are none."""
    folder = folder_of(source.path)
    receipts = sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".uke" and file.is_file())
    if not receipts:
        raise BadInput(f"source.path: {folder} holds no receipts (*.UKE)")
    return {"receipts": receipts, "masters": master_files.files_of(source.masters)}


def read(source: ReceiptSource, engine: Engine, scratch: Path) -> RawEvents:
    """All receipts as raw events. Raises BadInput for a file that is no UKE file, with the line."""
    files = files_of(source)["receipts"]
    masters = master_files.load(source.masters)
    folder = scratch / "receipts"
    make_folder(folder)
    counts = parse_files(files, source.patient == "insurance", masters.suspected, folder)
    receipts = _number_visits(folder, engine)
    events = engine.read_parquet(folder / "events-*.parquet")
    events = master_files.translate_events(events, masters, engine, folder / "masters.parquet")
    births, sexes, admissions = _births(receipts), _sexes(receipts), _admissions(receipts)
    first = ibis.union(*(table.select("receipt") for table in (births, sexes, admissions))).distinct()
    medical = counts.rows["RE"] - counts.without_event["RE"][NOT_MEDICAL]
    if repeated := medical - engine.count(first):
        counts.no_event("RE", "repeated birth, sex and admission", repeated)
    counts.warnings += _notes(events, engine)
    parts = [_clinical_events(events, receipts)]
    parts += [_person_events(births, ibis.literal(BIRTH)), _person_events(sexes, sexes.sex)]
    parts += [_admission_events(admissions)]
    parsed = sum(pq.read_metadata(file).num_rows for file in folder.glob("events-*.parquet"))
    return RawEvents(
        ibis.union(*parts),
        counts.tables(),
        patients=receipts.select("patient"),
        events=parsed + 3 * counts.rows["RE"],
        warnings=dict(sorted(counts.warnings.items())),
    )


def _number_visits(folder: Path, engine: Engine) -> ir.Table:
    """The receipts, with `visit`: the number of a patient's claim of a month, hospital and kind.

    A receipt that was sent again has the number of the first, so that what it repeats is dropped. The
    number is the place in the sorted order of all receipts and reveals nothing of the patient's own number.
    """
    receipts = engine.read_parquet(folder / "receipts-*.parquet")
    receipts = receipts.mutate(
        of=ibis.coalesce(_.patient, ""),
        month=ibis.coalesce(_.first_day.cast("string"), ""),
        since=ibis.coalesce(_.admission.cast("string"), ""),
    )
    keys = ("hospital_id", "month", "of", "kind", "since")
    numbers = receipts.select(*keys).distinct()
    numbers = numbers.mutate(visit=ibis.row_number().over(order_by=keys) + 1)
    numbered = receipts.inner_join(numbers, keys).drop("of", "month", "since")
    engine.write_parquet(numbered, folder / "visits.parquet")
    return engine.read_parquet(folder / "visits.parquet")


def _with_group(receipts: ir.Table, has_issue: Expression) -> ir.Table:
    """Receipts with an issue form groups of their own, so that each is counted."""
    return receipts.mutate(group=has_issue.ifelse(_.receipt, ibis.literal(0, "int64")))


def _births(receipts: ir.Table) -> ir.Table:
    """Each birth of a patient once, with `receipt`, the first that has it."""
    grouped = _with_group(receipts, _.patient.isnull() | _.birth.isnull())
    births = grouped.group_by("patient", "birth", "group").aggregate(receipt=_.receipt.min())
    return births.mutate(conflict=NO_TEXT)


def _sexes(receipts: ir.Table) -> ir.Table:
    """Each sex of a patient once, with `conflict` for those of a minority of receipts.

    A known sex counts before an unknown one. Validation quarantines both sexes of a tie.
    """
    grouped = _with_group(receipts, _.patient.isnull() | _.birth.isnull())
    sexes = grouped.group_by("patient", "sex", "group").aggregate(
        birth=_.birth.min(), receipt=_.receipt.min(), votes=_.receipt.count()
    )
    is_known: Expression = sexes.sex != SEX_PREFIX + "U"
    sexes = sexes.mutate(votes=is_known.ifelse(sexes.votes, ibis.literal(0, "int64")))
    most = sexes.votes.max().over(ibis.window(group_by=["patient", "group"]))
    return sexes.mutate(conflict=ibis.ifelse(sexes.votes < most, "conflicting sex", NO_TEXT))


def _admissions(receipts: ir.Table) -> ir.Table:
    """Each admission once: receipts of later months of a stay repeat it."""
    has_issue = _.patient.isnull() | _.admission.isnull() | _.last_day.isnull()
    return (
        _with_group(receipts.filter(_.is_stay), has_issue)
        .group_by("patient", "hospital_id", "admission", "group")
        .aggregate(receipt=_.receipt.min(), visit=_.visit.min(), last_day=_.last_day.min())
    )


def _notes(events: ir.Table, engine: Engine) -> Counter[str]:
    """How many events have a code that the masters lack, give no target, or have abolished."""
    noted = events.filter(_.note.notnull()).group_by("note").aggregate(events=_.count())
    found = engine.to_arrow(noted).to_pydict()
    return Counter(dict(zip(found["note"], found["events"], strict=True)))


def _issue(table: ir.Table, *dates: Expression) -> Expression:
    """Missing patient, or a date that is unreadable."""
    no_patient: Expression = table.patient.isnull()
    return ibis.cases(
        (no_patient, "missing patient"), *((day.isnull(), "unreadable date") for day in dates), else_=NO_TEXT
    )


def _clinical_events(events: ir.Table, receipts: ir.Table) -> ir.Table:
    of_receipt = receipts.select("receipt", "patient", "hospital_id", "visit", "last_day")
    joined = events.inner_join(of_receipt, "receipt")
    # A discharge gives the day of a death; the outcome of a disease, on any receipt, only the month.
    discharged = joined.filter(_.source_table == "BU", _.code == DEATH, _.day.notnull(), _.issue.isnull())
    joined = joined.left_join(discharged.select(dead="patient").distinct(), [("patient", "dead")])
    is_repeated = (joined.source_table == "SY") & (joined.code == DEATH) & joined.dead.notnull()
    repeated = ibis.ifelse(is_repeated, "conflicting death date", NO_TEXT)
    return raw_events(
        joined,
        time=joined.day,
        visit_id=joined.visit.cast("string"),
        available_at=joined.last_day,
        issue=ibis.coalesce(joined.issue, _issue(joined, joined.last_day), repeated),
        **{
            name: joined[name]
            for name in ("code", "numeric_value", "hospital_id", "suspected", "source_table")
        },
    )


def _person_events(people: ir.Table, code: Expression) -> ir.Table:
    issue = ibis.coalesce(_issue(people, people.birth), people.conflict)
    return raw_events(people, time=people.birth, code=code, source_table="RE", issue=issue)


def _admission_events(admissions: ir.Table) -> ir.Table:
    return raw_events(
        admissions,
        time=admissions.admission,
        code=ADMISSION,
        hospital_id=admissions.hospital_id,
        visit_id=admissions.visit.cast("string"),
        available_at=admissions.last_day,
        source_table="RE",
        issue=_issue(admissions, admissions.admission, admissions.last_day),
    )
