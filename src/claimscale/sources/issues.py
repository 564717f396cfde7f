"""Every fault that claims can have, and what is done about it.

A fault has one outcome. *Reject*: the source is refused with one line, nothing is written. *Quarantine*: the
row is kept aside for the user to look at. *Drop*: the row says nothing new. *Repair*: the row is used, put
right. *Warn*: the row is used as it is, and counted.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    REJECT = "reject"
    QUARANTINE = "quarantine"
    DROP = "drop"
    REPAIR = "repair"
    WARN = "warn"


FAULTS: dict[str, Outcome] = {
    # Found by readers, row by row.
    "unreadable date": Outcome.QUARANTINE,
    "unreadable value": Outcome.QUARANTINE,
    "end before start": Outcome.QUARANTINE,
    # Found by the gate, first match first.
    "missing patient": Outcome.QUARANTINE,
    "missing code": Outcome.QUARANTINE,
    "missing time": Outcome.QUARANTINE,
    "placeholder date": Outcome.QUARANTINE,
    "in the future": Outcome.QUARANTINE,
    "unknown patient": Outcome.QUARANTINE,
    "contradicts another birth date": Outcome.QUARANTINE,
    "contradicts another death date": Outcome.QUARANTINE,
    "contradicts another sex": Outcome.QUARANTINE,
    "before birth": Outcome.QUARANTINE,
    "after death": Outcome.QUARANTINE,
    "not a code of its system": Outcome.QUARANTINE,
    "exact duplicate": Outcome.DROP,
    "known before it happened": Outcome.REPAIR,
    "code spelt otherwise": Outcome.REPAIR,
    "code not in crosswalk": Outcome.WARN,
}
