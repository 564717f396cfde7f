"""Dates are read as declared, or not at all."""

from __future__ import annotations

import datetime as dt

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, strategies

from claimscale.sources import dates


def read(engine, text: str | None, style: dates.DateStyle = "western", last: bool = False) -> dt.date | None:
    table = ibis.memtable(pa.table({"text": pa.array([text], pa.string())}))
    function = dates.last_day_of if last else dates.timestamp_of
    found = engine.to_arrow(table.select(day=function(table.text, style)))["day"][0].as_py()
    return None if found is None else found.date()


DAY = dt.date(2021, 4, 3)


@pytest.mark.parametrize(
    ("style", "text", "day"),
    [
        ("western", "20210403", DAY),
        ("western", " 2021-04-03 ", DAY),
        ("western", "2021/04/03", DAY),
        ("western", "2021/4/3", DAY),
        ("western", "2021-04-03 13:45:00", DAY),
        ("western", "2021-04-03T00:00:00Z", DAY),
        ("western", "202104", DAY.replace(day=1)),
        ("western", "2021-04", DAY.replace(day=1)),
        ("wareki", "5030403", DAY),
        ("wareki", "50304", DAY.replace(day=1)),
        ("wareki", "4310430", dt.date(2019, 4, 30)),
        ("wareki", "3640107", dt.date(1989, 1, 7)),
        ("wareki", "2150730", dt.date(1926, 7, 30)),
        ("wareki", "1450729", dt.date(1912, 7, 29)),
        ("excel", "44289", DAY),
        ("excel", "44289.0", DAY),
        ("excel", "2021-04-03", DAY),
    ],
)
def test_dates_of_each_style(style, text, day, engine) -> None:
    assert read(engine, text, style) == day


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("western", None),
        ("western", ""),
        ("western", "00000000"),
        ("western", "20210431"),
        ("western", "20211301"),
        ("western", "5030403"),
        ("western", "44289"),
        ("western", "3.4.2021"),
        ("western", "2021-04-03garbage"),
        ("wareki", "20210403"),
        ("wareki", "6030403"),
        ("wareki", "5031503"),
        ("excel", "4428"),
        ("excel", "5030403"),
    ],
)
def test_text_that_is_no_date_is_null(style, text, engine) -> None:
    assert read(engine, text, style) is None


def test_a_month_ends_on_its_last_day(engine) -> None:
    assert read(engine, "202402", last=True) == dt.date(2024, 2, 29)
    assert read(engine, "50602", "wareki", last=True) == dt.date(2024, 2, 29)
    assert read(engine, "20240203", last=True) == dt.date(2024, 2, 3)


@given(strategies.dates(dt.date(1868, 1, 1), dt.date(2099, 12, 31)))
def test_every_day_is_read_back(engine, day: dt.date) -> None:
    assert read(engine, f"{day:%Y%m%d}") == day
    era = max(digit for digit, base in dates.ERAS.items() if base < day.year)
    year = day.year - dates.ERAS[era]
    if year < 100:
        assert read(engine, f"{era}{year:02d}{day:%m%d}", "wareki") == day
