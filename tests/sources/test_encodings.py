"""Text of another encoding than the stated one is refused with its file, and never read as something else."""

from __future__ import annotations

import unicodedata

import pytest

from claimscale.errors import BadInput

MAPPING = """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}
codes: [{table: drugs, patient: id, date: day, system: LAB, code: code}]
"""
PEOPLE = "id,born,sex\n7,1950-04-01,1\n"


def drugs(sign: str) -> str:
    return f"id,day,code\n7,2021-03-09,x\n7,2021-03-10,{sign}\n"


@pytest.mark.parametrize(
    ("written", "sign", "stated", "message"),
    [
        ("cp932", "高", "utf-8", r"drugs\.csv, line 3: is not utf-8 text \(source\.encoding\)$"),
        ("latin-1", "é", "utf-8", r"drugs\.csv, line 3: is not utf-8 text \(source\.encoding\)$"),
        ("cp1252", "€", "utf-8", r"drugs\.csv, line 3: is not utf-8 text \(source\.encoding\)$"),
        ("gb18030", "高", "utf-8", r"drugs\.csv, line 3: is not utf-8 text \(source\.encoding\)$"),
        ("euc-jp", "高", "utf-8", r"drugs\.csv, line 3: is not utf-8 text \(source\.encoding\)$"),
        ("utf-16", "é", "utf-8", r"drugs\.csv, line 1: is not utf-8 text \(source\.encoding\)$"),
        ("utf-16-le", "x", "utf-8", r"drugs\.csv, line 1: holds a NUL byte$"),
        ("utf-32", "x", "utf-8", r"drugs\.csv, line 1: is not utf-8 text \(source\.encoding\)$"),
        ("utf-8", "é", "utf-16", r"drugs\.csv: is not utf-16 text \(source\.encoding\)$"),
        ("cp1252", "é", "cp932", r"drugs\.csv, line 3: is not cp932 text \(source\.encoding\)$"),
        ("utf-16", "x", "latin-1", r"drugs\.csv, line 1: holds a NUL byte$"),
        ("utf-16", "x", "cp1252", r"drugs\.csv, line 1: holds a NUL byte$"),
        (
            "utf-16",
            "x",
            "cp932",
            r"drugs\.csv, line 1: (holds a NUL byte|is not cp932 text \(source\.encoding\))$",
        ),
    ],
)
def test_another_encoding_is_refused(written: str, sign: str, stated: str, message: str, ingest) -> None:
    content = drugs(sign).encode(written)
    with pytest.raises(BadInput, match=message) as caught:
        ingest({"people.csv": PEOPLE.encode(stated), "drugs.csv": content}, MAPPING, encoding=stated)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp932"])
def test_text_that_is_cut_in_a_character_is_refused(encoding: str, ingest) -> None:
    content = drugs("高").encode(encoding)
    cut = {"utf-8": 2, "utf-16": 3, "cp932": 2}[encoding]
    with pytest.raises(BadInput, match=r"drugs\.csv: ends in the middle of a character$"):
        ingest(
            {"people.csv": PEOPLE.encode(encoding), "drugs.csv": content[:-cut]}, MAPPING, encoding=encoding
        )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp932", "cp1252", "latin-1"])
def test_a_nul_is_refused_in_every_encoding(encoding: str, ingest) -> None:
    files = {"people.csv": PEOPLE.encode(encoding), "drugs.csv": drugs("a\0b").encode(encoding)}
    with pytest.raises(BadInput, match=r"drugs\.csv, line 3: holds a NUL byte$"):
        ingest(files, MAPPING, encoding=encoding)


@pytest.mark.parametrize(
    ("written", "stated", "code"),
    [
        ("utf-8-sig", "utf-8", "高血圧"),
        ("utf-8", "utf-8", "Ménière"),
        ("utf-8", "utf-8", "🩺"),
        ("utf-16", "utf-16", "高血圧"),
        ("cp932", "cp932", "高血圧①"),
        ("cp932", "cp932", "ｶﾞｽﾀｰ錠"),
        ("shift_jis", "cp932", "表予能"),  # the second byte of each is a backslash
        ("cp1252", "cp1252", "5 €"),
        ("latin-1", "latin-1", "µg/m²"),
        ("latin-1", "cp1252", "Ménière"),
        ("ascii", "cp932", "plain"),
    ],
)
def test_text_is_read_as_it_was_written(written: str, stated: str, code: str, ingest) -> None:
    files = {"people.csv": PEOPLE.encode(written), "drugs.csv": drugs(code).encode(written)}
    events, quality = ingest(files, MAPPING, encoding=stated)
    expected = unicodedata.normalize("NFKC", code)
    assert {row["code"] for row in events} >= {"LAB//x", f"LAB//{expected}"}
    assert not quality["quarantined"]
