from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from claimscale.errors import BadInput
from claimscale.simulator.writers.claims import NONE
from claimscale.simulator.writers.text import facility_codes, texts_of_days, texts_of_months


def days(*dates: str) -> np.ndarray:
    return np.array([(dt.date.fromisoformat(date) - dt.date(1970, 1, 1)).days for date in dates], np.int32)


@pytest.mark.parametrize(
    ("date", "text"),
    [
        ("1912-07-29", "1450729"),
        ("1912-07-30", "2010730"),
        ("1926-12-24", "2151224"),
        ("1926-12-25", "3011225"),
        ("1989-01-07", "3640107"),
        ("1989-01-08", "4010108"),
        ("2019-04-30", "4310430"),
        ("2019-05-01", "5010501"),
    ],
)
def test_eras_begin_on_their_first_day(date, text):
    assert texts_of_days(days(date), wareki=True).to_pylist() == [text]


def test_western_dates_and_missing_ones():
    day = np.append(days("2020-02-29", "1925-01-01"), np.int32(NONE))
    assert texts_of_days(day, missing="00000000").to_pylist() == ["20200229", "19250101", "00000000"]
    assert texts_of_days(day[:0]).to_pylist() == []


def test_months_lose_their_day_only():
    month = np.array([(2019 - 1970) * 12 + 3, (2019 - 1970) * 12 + 4])
    assert texts_of_months(month).to_pylist() == ["201904", "201905"]
    assert texts_of_months(month, wareki=True).to_pylist() == ["43104", "50105"]


def test_facilities_are_distinct_and_in_a_prefecture():
    hospitals = pa.array([f"H{number:03d}" for number in range(1, 520)])
    codes = facility_codes(hospitals).to_pylist()
    assert len(set(codes)) == 519
    assert {len(code) for code in codes} == {9}
    assert {int(code[:2]) for code in codes} == set(range(1, 48))


@pytest.mark.parametrize("name", ["017", "H", "H12345678", "Hx"])
def test_other_names_of_hospitals_are_bad_input(name):
    with pytest.raises(BadInput, match="need an H and a number"):
        facility_codes(pa.array([name]))
