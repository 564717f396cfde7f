"""The gate: whole patients of raw events in, checked and sorted events out, every row accounted for.

Rows are judged shard by shard in NumPy, so that every engine gives the same events, byte for byte. What is
done about which fault stands in `sources.faults`, the order in which a row is judged in `_faults`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from claimscale.codes import systems as codes
from claimscale.events.columns import MISSING, ORDER, Bools, Int64s, Rows, in_order
from claimscale.sources.issues import FAULTS, Outcome
from claimscale.sources.raw import EVENT_SCHEMA, Crosswalk

UNDECIDED = -2
MICROSECONDS_PER_DAY = 86_400_000_000
BEFORE_ALL_PATIENTS = int(np.datetime64("1900-01-01", "us").astype(np.int64))
AFTER_ALL_CLAIMS = int(np.datetime64("2100-01-01", "us").astype(np.int64))

QUARANTINE_SCHEMA = pa.schema(
    [*EVENT_SCHEMA.to_pyarrow(), ("stranger", pa.string()), ("origin", pa.string()), ("fault", pa.string())]
)
"""Rows set aside. `stranger`: the source's id of a patient who is not in its list."""


@dataclass
class Account:
    """What became of the rows: used, or set aside or dropped for one reason each; and what was put right."""

    rows_in: int = 0
    used: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    """Events by the origin that they were made from, before any was set aside."""

    def fault(self, name: str, rows: int) -> None:
        if rows:
            kinds = {
                Outcome.QUARANTINE: self.quarantined,
                Outcome.DROP: self.dropped,
                Outcome.REPAIR: self.repaired,
                Outcome.WARN: self.warned,
            }
            kinds[FAULTS[name]][name] += rows

    def add(self, other: Account) -> None:
        self.rows_in += other.rows_in
        self.used += other.used
        for name in ("quarantined", "dropped", "repaired", "warned", "made"):
            getattr(self, name).update(getattr(other, name))

    @property
    def adds_up(self) -> bool:
        return self.rows_in == self.used + self.quarantined.total() + self.dropped.total()


def judge(
    table: pa.Table, today: dt.date, account: Account, crosswalks: Sequence[Crosswalk] = ()
) -> tuple[Rows, pa.Table]:
    """Judge the raw events of whole patients.

    Returns the events that pass, each once and in order, and the rows to set aside (QUARANTINE_SCHEMA).
    """
    rows = repaired(Rows.of(table), crosswalks)
    account.rows_in += len(rows)
    origins = np.bincount(rows.columns["origin"] + 1, minlength=len(rows.texts["origin"]) + 1)
    for name, made in zip([None, *rows.texts["origin"].to_pylist()], origins.tolist(), strict=True):
        if made and name is not None:
            account.made[name] += made
    rows = in_order(rows)
    fault, names = _faults(rows, today)
    for place, name in enumerate(names):
        account.fault(name, int(np.count_nonzero(fault == place)))
    aside = _set_aside(rows.where(fault >= 0), fault[fault >= 0], names)
    passed = rows.where(fault < 0)
    repeated = _repeats(passed)
    account.fault("exact duplicate", int(np.count_nonzero(repeated)))
    passed = passed.where(~repeated)
    account.used += len(passed)
    for name in MARKS:
        account.fault(name, int(passed.columns[name].sum()))
    return passed, aside


def _set_aside(rows: Rows, fault: Int64s, names: list[str]) -> pa.Table:
    table = rows.table()
    subject = pa.array(rows.subject, mask=rows.subject == MISSING)
    reasons = pa.DictionaryArray.from_arrays(pa.array(fault.astype(np.int32)), pa.array(names, pa.string()))
    table = table.set_column(0, "subject_id", subject)
    table = table.append_column("stranger", rows.text("stranger")).append_column(
        "origin", rows.text("origin")
    )
    return table.append_column("fault", reasons).cast(QUARANTINE_SCHEMA)


MARKS = ("code spelt otherwise", "known before it happened", "code not in crosswalk")


def repaired(rows: Rows, crosswalks: Sequence[Crosswalk]) -> Rows:
    """Codes in their one spelling and mapped, nothing known before it happened; MARKS tell of which rows."""
    given = rows.texts["code"].to_pylist()
    spelt = [codes.respell(code) for code in given]
    mapped, lost = _mapped(spelt, crosswalks)
    found, time = rows.columns, rows.columns["time"]
    changed = np.array([new != old for new, old in zip(spelt, given, strict=True)] + [False])
    dictionary = sorted(set(mapped))
    place = {code: number for number, code in enumerate(dictionary)}
    new_place = np.array([place[code] for code in mapped] + [-1])
    # A claim that is known before what it tells of would show a model the future.
    early = (found["available_at"] < time) & (found["available_at"] != MISSING)
    columns = found | {
        "code": new_place[found["code"]],
        "available_at": np.where(early, time, found["available_at"]),
        MARKS[0]: changed[found["code"]].astype(np.int64),
        MARKS[1]: early.astype(np.int64),
        MARKS[2]: np.array([*lost, False])[found["code"]].astype(np.int64),
    }
    return Rows(rows.subject, columns, rows.texts | {"code": pa.array(dictionary, pa.string())})


def _mapped(spelt: Sequence[str], crosswalks: Sequence[Crosswalk]) -> tuple[list[str], list[bool]]:
    """The codes after all crosswalks, and which of them a crosswalk of their system does not list."""
    mapped, lost = list(spelt), [False] * len(spelt)
    for crosswalk in crosswalks:
        for place, code in enumerate(mapped):
            lost[place] |= codes.split(code)[0] == crosswalk.of and code not in crosswalk.targets
            mapped[place] = crosswalk.targets.get(code, code)
    return mapped, lost


def _faults(rows: Rows, today: dt.date) -> tuple[Int64s, list[str]]:
    """The fault of each row, as a place in the list of names; -1 where there is none."""
    found, time = rows.columns, rows.columns["time"]
    names: list[str] = []
    fault = np.full(len(rows), -1, dtype=np.int64)

    def mark(name: str, applies: Bools) -> None:
        fault[(fault < 0) & applies] = len(names)
        names.append(name)

    for place, name in enumerate(rows.texts["fault"].to_pylist()):
        mark(name, found["fault"] == place)
    mark("missing patient", rows.subject == MISSING)
    spelt = rows.texts["code"].to_pylist()
    is_empty = np.array([not codes.split(code)[1].strip() for code in spelt] + [True])
    mark("missing code", is_empty[found["code"]])
    mark("missing time", (time == MISSING) | (found["available_at"] == MISSING))
    mark("placeholder date", (time <= BEFORE_ALL_PATIENTS) | (found["available_at"] >= AFTER_ALL_CLAIMS))
    tomorrow = int(np.datetime64(today + dt.timedelta(days=1), "us").astype(np.int64))
    mark("in the future", time >= tomorrow)
    is_misspelt = np.array([not codes.is_well_formed(code) for code in spelt] + [False])
    mark("not a code of its system", is_misspelt[found["code"]])
    vital = _vital(rows, fault < 0)
    mark("unknown patient", vital.birth == MISSING)
    mark("contradicts another birth date", vital.is_birth & (time != vital.birth))
    mark("contradicts another death date", vital.is_death & (time != vital.death))
    mark("contradicts another sex", vital.is_sex & (found["code"] != vital.sex))
    mark("before birth", time < vital.birth)
    day_of_death = vital.death - vital.death % MICROSECONDS_PER_DAY
    is_after = time >= day_of_death + MICROSECONDS_PER_DAY
    mark("after death", (vital.death != MISSING) & is_after)
    return fault, names


@dataclass(frozen=True)
class _Vital:
    """Of each row's patient: times or MISSING; `sex` is a place among the codes, UNDECIDED or -1."""

    birth: Int64s
    death: Int64s
    sex: Int64s
    is_birth: Bools
    is_death: Bools
    is_sex: Bools


def _vital(rows: Rows, usable: Bools) -> _Vital:
    """Of several birth dates the first stands, of deaths the last: neither takes a contact away.

    Of two sexes the one told by more rows stands, a known one before an unknown one; neither in a draw.
    """
    code, time = rows.columns["code"], rows.columns["time"]
    texts = rows.texts["code"].to_pylist()
    starts = np.flatnonzero(np.diff(rows.subject, prepend=rows.subject[:1] - 1))
    lengths = np.diff(np.append(starts, len(rows)))

    def marked(wanted: Callable[[str], bool]) -> Bools:
        return np.array([wanted(text) for text in texts] + [False])[code]

    def of_patients(values: Int64s, reduced: np.ufunc) -> Int64s:
        return np.repeat(reduced.reduceat(values, starts), lengths) if len(starts) else values

    is_birth, is_death = marked(codes.BIRTH.__eq__), marked(codes.DEATH.__eq__)
    latest = np.iinfo(np.int64).max
    birth = of_patients(np.where(is_birth & usable, time, latest), np.minimum)
    death = of_patients(np.where(is_death & usable, time, MISSING), np.maximum)
    is_sex = marked(lambda text: text.startswith(codes.SEX_PREFIX))
    weight, sex = np.zeros(len(rows), np.int64), np.full(len(rows), -1, np.int64)
    for place in np.unique(code[is_sex & usable]).tolist():
        told = of_patients(((code == place) & usable).astype(np.int64), np.add)
        told = np.where(texts[place] == codes.SEX_PREFIX + "U", np.minimum(told, 1), 2 * told)
        sex = np.where(told > weight, place, np.where((told == weight) & (told > 0), UNDECIDED, sex))
        weight = np.maximum(told, weight)
    return _Vital(np.where(birth == latest, MISSING, birth), death, sex, is_birth, is_death, is_sex)


def _repeats(rows: Rows) -> Bools:
    """Rows equal to the one before."""
    if not len(rows):
        return np.zeros(0, dtype=bool)
    same = rows.subject[1:] == rows.subject[:-1]
    for name in ORDER:
        same &= rows.columns[name][1:] == rows.columns[name][:-1]
    return np.concatenate([[False], same])
