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


ISSUES: dict[str, Handling] = {
    # Found by readers, row by row.
    "unreadable id": Handling.QUARANTINE,
    "unreadable date": Handling.QUARANTINE,
    "unreadable value": Handling.QUARANTINE,
    "end before start": Handling.QUARANTINE,
    # Found by validation, in this order.
    "missing patient": Handling.QUARANTINE,
    "missing code": Handling.QUARANTINE,
    "missing time": Handling.QUARANTINE,
    "placeholder date": Handling.QUARANTINE,
    "future date": Handling.QUARANTINE,
    "malformed code": Handling.QUARANTINE,
    "unknown patient": Handling.QUARANTINE,
    "conflicting birth date": Handling.QUARANTINE,
    "conflicting death date": Handling.QUARANTINE,
    "conflicting sex": Handling.QUARANTINE,
    "before birth": Handling.QUARANTINE,
    "after death": Handling.QUARANTINE,
    "exact duplicate": Handling.DROP,
    "available before event": Handling.REPAIR,
    "non-canonical code": Handling.REPAIR,
    "code not in crosswalk": Handling.WARN,
}
