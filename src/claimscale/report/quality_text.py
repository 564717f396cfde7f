"""Row reconciliation of a source, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimscale.events.table import span_text

KINDS = {"quarantined": "quarantined", "dropped": "dropped", "repaired": "repaired", "warnings": "warning"}


def reconciliation_text(quality: Mapping[str, Any]) -> str:
    """The content of `events/quality.json`: rows of every source table, then events by handling and reason.

    >>> rows = {"drugs": {"rows": 3, "events": 2, "without_event": {"comment": 1}}}
    >>> dropped = {"same patient, time, code, value and visit": 1}
    >>> counts = {"rows_in": 2, "used": 1, "dropped": dropped, "source_rows": rows}
    >>> print(reconciliation_text(counts | {"span": ["2019-04-01", "2021-03-31"]}))
    table   rows  events  rows without an event
    drugs      3       2  1 comment
    2 events = 1 used + 0 quarantined + 1 dropped
    dropped   1  same patient, time, code, value and visit
    The claims are from 2019-04-01 to 2021-03-31.
    """
    lines = []
    if source_rows := quality.get("source_rows", {}):
        tables = [("table", "rows", "events", "rows without an event")]
        tables += [
            (name, f"{rows['rows']:,}", f"{rows['events']:,}", _listed(rows.get("without_event", {})))
            for name, rows in source_rows.items()
        ]
        lines += _aligned(tables)
    quarantined, dropped = (sum(quality.get(kind, {}).values()) for kind in ("quarantined", "dropped"))
    used = f"{quality['used']:,} used + {quarantined:,} quarantined + {dropped:,} dropped"
    lines += [f"{quality['rows_in']:,} events = {used}"]
    counts = [
        (handling, f"{rows:,}", "", reason)
        for kind, handling in KINDS.items()
        for reason, rows in quality.get(kind, {}).items()
    ]
    lines += _aligned(counts)
    if span := span_text(quality):
        lines.append(f"{span[0].upper()}{span[1:]}.")
    return "\n".join(lines)


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in reasons.items() if rows)


def _aligned(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Lines with names to the left, numbers to the right, and words after them."""
    name, first, second = (max((len(row[column]) for row in rows), default=0) for column in range(3))
    second = second + 2 if second else 0
    return [f"{row[0]:<{name}}  {row[1]:>{first + 1}}{row[2]:>{second}}  {row[3]}".rstrip() for row in rows]
