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


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("western", "2021-4-3"),
        ("western", "2021-04-3"),
        ("western", "2021/4/03"),
        ("western", "2021.04.03"),
        ("western", "2021.4.3"),
        ("western", "2021/04/03 00:00"),
        ("western", "2021-4-3 00:00:00"),
        ("western", "2021-4-3T13:45:00+09:00"),
        ("western", "03APR2021"),
        ("western", "3apr2021"),
        ("western", "03-Apr-2021"),
        ("western", "3 Apr 2021"),
        ("western", "03APR2021:00:00:00"),
        ("western", "\t2021-04-03\n"),
        ("month_first", "04/03/2021"),
        ("month_first", "4/3/2021"),
        ("month_first", "04-03-2021"),
        ("month_first", "04/03/2021 12:00:00 AM"),
        ("month_first", "2021-04-03"),
        ("month_first", "20210403"),
        ("month_first", "03APR2021"),
        ("day_first", "03/04/2021"),
        ("day_first", "3/4/2021"),
        ("day_first", "03.04.2021"),
        ("day_first", "3.4.2021 23:59"),
        ("day_first", "2021/04/03"),
        ("excel", "2021.4.3"),
    ],
)
def test_spellings_of_one_day(style, text, engine) -> None:
    assert read(engine, text, style) == DAY


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("western", "04/03/2021"),
        ("western", "03/04/2021"),
        ("western", "21-04-03"),
        ("western", "2021-4-31"),
        ("western", "2021-13-1"),
        ("western", "2021-0-1"),
        ("western", "2021"),
        ("western", "2021-4"),
        ("western", "03XXX2021"),
        ("western", "31FEB2021"),
        ("western", "2021-4-3garbage"),
        ("western", "0000-00-00"),
        ("month_first", "13/03/2021"),
        ("month_first", "02/30/2021"),
        ("month_first", "4/3/21"),
        ("month_first", "04/03"),
        ("day_first", "03/13/2021"),
        ("day_first", "31.04.2021"),
        ("day_first", "3.4.21"),
        ("wareki", "2021-04-03"),
    ],
)
def test_no_day_is_guessed(style, text, engine) -> None:
    assert read(engine, text, style) is None


@pytest.mark.parametrize(
    ("style", "text", "first", "last"),
    [
        ("western", "2021-02", dt.date(2021, 2, 1), dt.date(2021, 2, 28)),
        ("month_first", "02/2024", dt.date(2024, 2, 1), dt.date(2024, 2, 29)),
        ("day_first", "2/2024", dt.date(2024, 2, 1), dt.date(2024, 2, 29)),
        ("day_first", "202402", dt.date(2024, 2, 1), dt.date(2024, 2, 29)),
        ("month_first", "02/03/2024", dt.date(2024, 2, 3), dt.date(2024, 2, 3)),
    ],
)
def test_months_of_each_style(style, text, first, last, engine) -> None:
    assert (read(engine, text, style), read(engine, text, style, last=True)) == (first, last)


BORN = dt.date(1937, 1, 1)


@pytest.mark.parametrize(
    ("column", "day"),
    [
        (pa.array(["1937"]), BORN),
        (pa.array([" 1937 "]), BORN),
        (pa.array(["1937.0"]), BORN),
        (pa.array([1937]), BORN),
        (pa.array([1937], pa.int16()), BORN),
        (pa.array([1937.0]), BORN),
        (pa.array(["1937-12-1"]), dt.date(1937, 12, 1)),
        (pa.array(["193712"]), dt.date(1937, 12, 1)),
        (pa.array([19371201]), dt.date(1937, 12, 1)),
        (pa.array([dt.date(1937, 12, 1)]), dt.date(1937, 12, 1)),
        (pa.array([dt.datetime(1937, 12, 1, 5)]), dt.date(1937, 12, 1)),
        (pa.array(["937"]), None),
        (pa.array(["3937"]), None),
        (pa.array(["0"]), None),
        (pa.array([0]), None),
        (pa.array([1937.5]), None),
        (pa.array([""]), None),
    ],
)
def test_a_year_of_birth_is_its_first_day(column: pa.Array, day: dt.date | None, engine) -> None:
    table = ibis.memtable(pa.table({"born": column}))
    found = engine.to_arrow(table.select(day=dates.birth_of(table.born)))["day"][0].as_py()
    assert (None if found is None else found.date()) == day
