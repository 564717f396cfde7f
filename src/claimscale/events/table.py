"""The events table as stages read it, and day numbers: whole days since 1970-01-01."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import meds
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import Deferred, _

from claimscale.artifacts import read_json
from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.engine import Engine

EPOCH = dt.date(1970, 1, 1)
FIRST_YEAR = 1900


def read_events(engine: Engine, events: Path) -> ir.Table:
    """The events of a folder, with the columns that `with_days` adds."""
    return with_days(engine.read_parquet(events / "data" / "*.parquet"))


def read_codes(events: Path) -> list[str]:
    """The distinct codes of all events of a folder."""
    return pq.read_table(events / meds.code_metadata_filepath, columns=["code"])["code"].to_pylist()


def span_of_claims(events: Path) -> str:
    """From when to when the claims of a folder are, for messages."""
    file = events / "quality.json"
    return span_text(read_json(file) if file.exists() else {}) or "the claims have no dates"


def span_text(quality: Mapping[str, Any]) -> str:
    """The same from the content of `quality.json`; nothing if it has no dates."""
    first, last = quality.get("span", (None, None))
    return f"the claims are from {first} to {last}" if first and last else ""


def with_days(events: ir.Table) -> ir.Table:
    """The events with three more columns.

    `day` and `available_day` are int32 day numbers. `demographic` marks birth and sex, which are facts about
    a patient and not contacts with a hospital.
    """
    return events.mutate(
        day=day_of_time(_.time),
        available_day=day_of_time(_.available_at),
        demographic=(_.code == BIRTH) | _.code.startswith(SEX_PREFIX),
    )


def day_of_time(time: Deferred) -> Deferred:
    """A column of timestamps as int32 day numbers."""
    return time.date().delta(EPOCH, unit="day").cast("int32")


def day_number(date: dt.date) -> int:
    """The day number of a date.

    >>> day_number(dt.date(1970, 1, 2))
    1
    """
    return (date - EPOCH).days


def date_of_day(day: int) -> dt.date:
    """The date of a day number.

    >>> str(date_of_day(1))
    '1970-01-02'
    """
    return EPOCH + dt.timedelta(days=day)


def usable_days(times: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """The last day whose records may be used at each time: the day at midnight, else the day before.

    What became known on the day itself may be later than a time of day.
    """
    exact = times.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    day = exact.astype("datetime64[D]")
    return (day.astype(np.int64) - (exact != day)).astype(np.int32)


def timestamps(days: npt.NDArray[np.integer]) -> pa.Array:
    """Day numbers as timestamps at midnight."""
    return pa.array(days.astype("datetime64[D]").astype("datetime64[us]"))
