"""What became of the rows of a source, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KINDS = {"quarantined": "set aside", "dropped": "dropped", "repaired": "put right", "warnings": "warning"}


def account_text(quality: Mapping[str, Any]) -> str:
    """The account of `events/quality.json`: rows of every table, then events by what was done with them.

    >>> rows = {"drugs": {"rows": 3, "events": 2, "without_event": {"comment": 1}}}
    >>> print(account_text({"rows_in": 2, "used": 1, "dropped": {"exact duplicate": 1}, "source_rows": rows}))
    table   rows  events  rows without an event
    drugs      3       2  1 comment
    2 events = 1 used + 0 set aside + 1 dropped
    dropped   1  exact duplicate
    """
    lines = []
    if accounts := quality.get("source_rows", {}):
        tables = [("table", "rows", "events", "rows without an event")]
        tables += [
            (name, f"{told['rows']:,}", f"{told['events']:,}", _listed(told.get("without_event", {})))
            for name, told in accounts.items()
        ]
        lines += _aligned(tables)
    aside, dropped = (sum(quality.get(kind, {}).values()) for kind in ("quarantined", "dropped"))
    used = f"{quality['used']:,} used + {aside:,} set aside + {dropped:,} dropped"
    lines += [f"{quality['rows_in']:,} events = {used}"]
    counts = [
        (done, f"{rows:,}", "", reason)
        for kind, done in KINDS.items()
        for reason, rows in quality.get(kind, {}).items()
    ]
    return "\n".join(lines + _aligned(counts))


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in reasons.items() if rows)


def _aligned(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Lines with names to the left, numbers to the right, and words after them."""
    name, first, second = (max((len(row[column]) for row in rows), default=0) for column in range(3))
    second = second + 2 if second else 0
    return [f"{row[0]:<{name}}  {row[1]:>{first + 1}}{row[2]:>{second}}  {row[3]}".rstrip() for row in rows]
