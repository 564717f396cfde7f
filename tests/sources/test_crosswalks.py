"""A user's crosswalk changes the codes it lists, and no others."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import ibis
import pyarrow as pa
import pytest
from pydantic import ValidationError

from claimscale.codes.systems import is_well_formed
from claimscale.config.sources import CodeCrosswalk
from claimscale.errors import BadInput
from claimscale.sources import crosswalks
from claimscale.sources.raw import RawEvents, raw_events


def crosswalk(file: Path, text: str) -> CodeCrosswalk:
    file.write_text(text, "utf-8")
    return CodeCrosswalk(source="YJ", target="ATC", file=str(file), columns=["price_code", "atc"])


def test_listed_codes_are_mapped_in_any_spelling(validated, engine, tmp_path: Path) -> None:
    listed = crosswalk(tmp_path / "atc.csv", "price_code,atc\n0123,C08CA01\n0123,A01AA01\n0456,\n")
    first = crosswalks.load(listed).targets
    assert first == {"YJ//0123": "ATC//A01AA01"}
    codes = ["YJ//0123", "YJ//０１２３ ", "YJ//0456", "ICD9CM//585.9", "ICD9CM//5859", "ICD10//N189"]
    rows = [{"patient": 1, "code": code, "day": 10 + place} for place, code in enumerate(codes)]
    rows += [{"patient": 1, "code": "MEDS_BIRTH", "day": 0}]
    days = [dt.datetime(2020, 1, 1) + dt.timedelta(row["day"]) for row in rows]
    table = ibis.memtable(
        pa.table({"patient": [1] * len(rows), "code": [row["code"] for row in rows], "day": days})
    )
    raw = RawEvents(raw_events(table, code=table.code, time=table.day))
    events, quality = validated(
        dataclasses.replace(
            raw,
            crosswalks=tuple(map(crosswalks.load, [listed, CodeCrosswalk(source="ICD9CM", target="ICD10")])),
        )
    )
    assert events.sort_by("time")["code"].to_pylist() == [
        "MEDS_BIRTH", "ATC//A01AA01", "ATC//A01AA01", "YJ//0456",
        "ICD10//N189", "ICD10//N189", "ICD10//N189",
    ]  # fmt: skip
    assert quality["warnings"] == {"code not in crosswalk": 1}
    assert quality["repaired"] == {"non-canonical code": 2}


def test_icd_9_and_10_need_no_file() -> None:
    forward = crosswalks.load(CodeCrosswalk(source="ICD9CM", target="ICD10")).targets
    assert (forward["ICD9CM//0010"], forward["ICD9CM//5859"]) == ("ICD10//A000", "ICD10//N189")
    assert all(is_well_formed(code) for code in [*forward, *forward.values()])
    back = crosswalks.load(CodeCrosswalk(source="ICD10", target="ICD9CM")).targets
    assert back["ICD10//A000"] == "ICD9CM//0010"
    with pytest.raises(BadInput, match=r"source\.crosswalks: YJ to ATC: needs a `file` and its `columns`"):
        crosswalks.load(CodeCrosswalk(source="YJ", target="ATC"))
    with pytest.raises(ValidationError, match="file and columns: one needs the other"):
        CodeCrosswalk(source="YJ", target="ATC", file="atc.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("price,atc\n1,A\n", "has no column price_code"),
        ("price_code,atc\n", "maps no code"),
        ('price_code,atc\n"1,A\n', "is not CSV"),
    ],
)
def test_an_invalid_crosswalk_file_is_bad_input(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"source\.crosswalks: .*{message}"):
        crosswalks.load(crosswalk(tmp_path / "atc.csv", text))
