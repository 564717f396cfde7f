"""Up to which day a source has claims, and whether the outcomes of index dates can be known by then."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ibis import _

from claimscale.config.tasks import Task
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.observation import month_end
from claimscale.events.table import date_of_day, day_number, read_events

LATE_SHARE = 0.001
"""Share of the events that may be later than the day up to which a source has claims: wrong dates."""


def claims_until(events: Path, engine: Engine) -> dt.date:
    """The day up to which an events folder has claims: that of all but LATE_SHARE of its events."""
    table = read_events(engine, events).filter(~_.demographic)
    counts = engine.to_arrow(table.group_by("day").aggregate(events=_.count()).order_by("day"))
    if not len(counts):
        raise BadInput("the source has no claims")
    total = np.cumsum(counts["events"].to_numpy())
    place = np.searchsorted(total, (1 - LATE_SHARE) * total[-1])
    return date_of_day(int(counts["day"][int(place)].as_py()))


def outcome_end(task: Task, index_day: int) -> int:
    """The day number on which the time of an outcome, and of its confirmation, has passed."""
    return index_day + task.gap_days + task.horizon_days + (task.confirmation_days or 0)


@dataclass(frozen=True)
class FollowUp:
    """The last day with claims, and the dates of assessment whose outcomes cannot all be known by then."""

    until: dt.date
    incomplete: list[dt.date]


def follow_up(task: Task, on: Sequence[dt.date], until: dt.date) -> FollowUp:
    """The follow-up of assessments on the dates `on`. The claims are complete to the end of their last month.

    Raises BadInput if the time of the outcome begins after the claims for every date.
    """
    last = day_number(month_end(until))
    index_days = [day_number(day) - 1 for day in on]
    if all(day + task.gap_days >= last for day in index_days):
        raise BadInput(f"--on {min(on)}: the claims end on {until}, before the time of the outcome begins")
    late = [day for day, index in zip(on, index_days, strict=True) if outcome_end(task, index) > last]
    return FollowUp(until, late)
