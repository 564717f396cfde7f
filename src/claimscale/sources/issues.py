"""Every issue that a row of claims can have, and how it is handled.

*Reject*: the source is refused with one line and nothing is written. *Quarantine*: the row is kept in a
separate file. *Drop*: the row repeats another one. *Repair*: the row is corrected and used. *Warn*: the row
is used unchanged, and counted.
"""

from __future__ import annotations

from enum import StrEnum


class Handling(StrEnum):
    REJECT = "reject"
    QUARANTINE = "quarantine"
    DROP = "drop"
    REPAIR = "repair"
    WARN = "warn"


UNLISTED_CONCEPT = "concept not in the vocabulary"
BY_READERS = (
    *("unreadable id", "unreadable date", "unreadable value", "end before start", "missing anchor"),
    UNLISTED_CONCEPT,
)
BY_VALIDATION = (
    *("missing patient", "missing code", "missing time", "placeholder date", "future date", "malformed code"),
    *("unknown patient", "conflicting birth date", "conflicting death date", "conflicting sex"),
    *("before birth", "after death"),
)
"""In the order in which validation tests them."""

SAME_EVENT = "same patient, time, code, value and visit"
"""A row that repeats an event. It may differ in columns that are not read."""

ISSUES: dict[str, Handling] = {
    **dict.fromkeys((*BY_READERS, *BY_VALIDATION), Handling.QUARANTINE),
    SAME_EVENT: Handling.DROP,
    "available before event": Handling.REPAIR,
    "non-canonical code": Handling.REPAIR,
    "code not in crosswalk": Handling.WARN,
}
