"""Validation of raw events: whole patients in, valid and sorted events out, with a row reconciliation.

Events are validated shard by shard in NumPy, so that every engine gives the same events, byte for byte.
`sources.issues` says how each issue is handled; `_find_issues` gives the order of the checks.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from claimscale.codes.systems import (
    BIRTH,
    DEATH,
    SEX_PREFIX,
    canonicalize,
    is_well_formed,
    split,
)
from claimscale.constants import MICROSECONDS_PER_DAY
from claimscale.events.columns import MISSING, ORDER, Bools, EventColumns, Int64s, sort_events
from claimscale.sources.issues import ISSUES, SAME_EVENT, Handling
from claimscale.sources.raw import EVENT_SCHEMA, Crosswalk

UNDECIDED = -2
EARLIEST_TIME = int(np.datetime64("1900-01-01", "us").astype(np.int64))
LATEST_AVAILABLE = int(np.datetime64("2100-01-01", "us").astype(np.int64))

MARKS = ("non-canonical code", "available before event", "code not in crosswalk")
"""Issues of events that are used: columns that `_repair` adds, 1 where the issue applies."""

QUARANTINE_SCHEMA = pa.schema(
    [
        *EVENT_SCHEMA.to_pyarrow(),
        ("unlisted_patient_id", pa.string()),
        ("source_table", pa.string()),
        ("issue", pa.string()),
    ]
)
"""`unlisted_patient_id`: the source's id of a patient who is not in the source's list of patients."""


@dataclass
class Reconciliation:
    """Counts of rows: each row is used, quarantined or dropped, the last two for one reason each."""

    rows_in: int = 0
    used: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    events_of_table: Counter[str] = field(default_factory=Counter)
    """Raw events by the source table that they were made from."""

    def count(self, issue: str, rows: int) -> None:
        if rows:
            counters = {
                Handling.QUARANTINE: self.quarantined,
                Handling.DROP: self.dropped,
                Handling.REPAIR: self.repaired,
                Handling.WARN: self.warned,
            }
            counters[ISSUES[issue]][issue] += rows

    def add(self, other: Reconciliation) -> None:
        self.rows_in += other.rows_in
        self.used += other.used
        for name in ("quarantined", "dropped", "repaired", "warned", "events_of_table"):
            getattr(self, name).update(getattr(other, name))

    @property
    def is_complete(self) -> bool:
        return self.rows_in == self.used + self.quarantined.total() + self.dropped.total()


def validate(
    table: pa.Table, today: dt.date | None, crosswalks: Sequence[Crosswalk] = ()
) -> tuple[EventColumns, pa.Table, Reconciliation]:
    """Validate the raw events of whole patients. `today` is None for dates that were shifted and anchored.

    Returns the valid events, sorted and without duplicates; the quarantined rows (QUARANTINE_SCHEMA); and
    the row reconciliation.
    """
    events = _repair(EventColumns.of(table), crosswalks)
    reconciliation = Reconciliation(rows_in=len(events))
    tables = events.texts["source_table"].to_pylist()
    rows = np.bincount(events.columns["source_table"] + 1, minlength=len(tables) + 1)[1:]
    reconciliation.events_of_table.update(
        {name: count for name, count in zip(tables, rows.tolist(), strict=True) if count}
    )
    events = sort_events(events)
    issue, names = _find_issues(events, today)
    for place, name in enumerate(names):
        reconciliation.count(name, int(np.count_nonzero(issue == place)))
    quarantined = _quarantine(events.where(issue >= 0), issue[issue >= 0], names)
    valid = events.where(issue < 0)
    is_duplicate = _duplicates(valid)
    reconciliation.count(SAME_EVENT, int(np.count_nonzero(is_duplicate)))
    valid = valid.where(~is_duplicate)
    reconciliation.used = len(valid)
    for name in MARKS:
        reconciliation.count(name, int(valid.columns[name].sum()))
    return valid, quarantined, reconciliation


def _quarantine(events: EventColumns, issue: Int64s, names: list[str]) -> pa.Table:
    issues = pa.DictionaryArray.from_arrays(pa.array(issue.astype(np.int32)), pa.array(names, pa.string()))
    table = events.table()
    for name in ("unlisted_patient_id", "source_table"):
        table = table.append_column(name, events.text(name))
    return table.append_column("issue", issues).cast(QUARANTINE_SCHEMA)


def _repair(events: EventColumns, crosswalks: Sequence[Crosswalk]) -> EventColumns:
    """Codes in canonical form and mapped, nothing available before it happens, and the columns of MARKS."""
    given = events.texts["code"].to_pylist()
    canonical = [canonicalize(code) for code in given]
    mapped, unmapped = _apply_crosswalks(canonical, crosswalks)
    found, time = events.columns, events.columns["time"]
    changed = np.array([new != old for new, old in zip(canonical, given, strict=True)] + [False])
    dictionary = sorted(set(mapped))
    place = {code: number for number, code in enumerate(dictionary)}
    new_place = np.array([place[code] for code in mapped] + [-1])
    # An event that is available before it happens would show a model the future.
    early = (found["available_at"] < time) & (found["available_at"] != MISSING)
    columns = found | {
        "code": new_place[found["code"]],
        "available_at": np.where(early, time, found["available_at"]),
        MARKS[0]: changed[found["code"]].astype(np.int64),
        MARKS[1]: early.astype(np.int64),
        MARKS[2]: np.array([*unmapped, False])[found["code"]].astype(np.int64),
    }
    return EventColumns(events.subject, columns, events.texts | {"code": pa.array(dictionary, pa.string())})


def _apply_crosswalks(codes: Sequence[str], crosswalks: Sequence[Crosswalk]) -> tuple[list[str], list[bool]]:
    """The codes after all crosswalks, and which of them a crosswalk of their system does not list."""
    mapped, unmapped = list(codes), [False] * len(codes)
    for crosswalk in crosswalks:
        for place, code in enumerate(mapped):
            unmapped[place] |= split(code)[0] == crosswalk.system and code not in crosswalk.targets
            mapped[place] = crosswalk.targets.get(code, code)
    return mapped, unmapped


def _find_issues(events: EventColumns, today: dt.date | None) -> tuple[Int64s, list[str]]:
    """The first issue of each row that quarantines it, as a place in the list of names, or -1."""
    found, time = events.columns, events.columns["time"]
    names: list[str] = []
    issue = np.full(len(events), -1, dtype=np.int64)

    def mark(name: str, applies: Bools) -> None:
        issue[(issue < 0) & applies] = len(names)
        names.append(name)

    for place, name in enumerate(events.texts["issue"].to_pylist()):
        mark(name, found["issue"] == place)
    mark("missing patient", found["no_subject"] == 1)
    codes = events.texts["code"].to_pylist()
    is_empty = np.array([not split(code)[1].strip() for code in codes] + [True])
    mark("missing code", is_empty[found["code"]])
    mark("missing time", (time == MISSING) | (found["available_at"] == MISSING))
    is_placeholder = (time <= EARLIEST_TIME) | (found["available_at"] >= LATEST_AVAILABLE)
    if today is not None:
        mark("placeholder date", is_placeholder)
        tomorrow = int(np.datetime64(today + dt.timedelta(days=1), "us").astype(np.int64))
        mark("future date", time >= tomorrow)
    else:
        # Anchors are on 2000-01-01, so these contacts are a century away. Births may be centuries away.
        is_born = np.array([code == BIRTH or code.startswith(SEX_PREFIX) for code in codes] + [False])
        mark("placeholder date", is_placeholder & ~is_born[found["code"]])
    is_malformed = np.array([not is_well_formed(code) for code in codes] + [False])
    mark("malformed code", is_malformed[found["code"]])
    person = _persons(events, issue < 0)
    mark("unknown patient", person.birth == MISSING)
    mark("conflicting birth date", person.is_birth & (time != person.birth))
    mark("conflicting death date", person.is_death & (time != person.death))
    mark("conflicting sex", person.is_sex & (found["code"] != person.sex))
    mark("before birth", time < person.birth)
    day_of_death = person.death - person.death % MICROSECONDS_PER_DAY
    is_after = time >= day_of_death + MICROSECONDS_PER_DAY
    mark("after death", (person.death != MISSING) & is_after)
    return issue, names


@dataclass(frozen=True)
class _Persons:
    """For each row, its patient's birth and death (MISSING if unknown) and sex, and which rows say so.

    `sex` is a place among the codes, UNDECIDED for a tie, -1 if unknown.
    """

    birth: Int64s
    death: Int64s
    sex: Int64s
    is_birth: Bools
    is_death: Bools
    is_sex: Bools


def _persons(events: EventColumns, usable: Bools) -> _Persons:
    """The earliest of several births and the latest of several deaths count, so that no contact is lost.

    The sex of most rows counts, a known sex before an unknown one. A tie is undecided.
    """
    code, time = events.columns["code"], events.columns["time"]
    texts = events.texts["code"].to_pylist()
    starts = events.first_of_subjects()
    lengths = np.diff(np.append(starts, len(events)))

    def is_code(wanted: Callable[[str], bool]) -> Bools:
        return np.array([wanted(text) for text in texts] + [False])[code]

    def per_patient(values: Int64s, reduced: np.ufunc) -> Int64s:
        return np.repeat(reduced.reduceat(values, starts), lengths) if len(starts) else values

    is_birth, is_death = is_code(BIRTH.__eq__), is_code(DEATH.__eq__)
    latest = np.iinfo(np.int64).max
    birth = per_patient(np.where(is_birth & usable, time, latest), np.minimum)
    death = per_patient(np.where(is_death & usable, time, MISSING), np.maximum)
    is_sex = is_code(lambda text: text.startswith(SEX_PREFIX))
    most, sex = np.zeros(len(events), np.int64), np.full(len(events), -1, np.int64)
    for place in np.unique(code[is_sex & usable]).tolist():
        votes = per_patient(((code == place) & usable).astype(np.int64), np.add)
        votes = np.where(texts[place] == SEX_PREFIX + "U", np.minimum(votes, 1), 2 * votes)
        sex = np.where(votes > most, place, np.where((votes == most) & (votes > 0), UNDECIDED, sex))
        most = np.maximum(votes, most)
    return _Persons(np.where(birth == latest, MISSING, birth), death, sex, is_birth, is_death, is_sex)


def _duplicates(events: EventColumns) -> Bools:
    """Events equal to the one before."""
    same = events.subject[1:] == events.subject[:-1]
    for name in ORDER:
        same &= events.columns[name][1:] == events.columns[name][:-1]
    return np.concatenate([np.zeros(min(len(events), 1), bool), same])
