"""One small set of claims in every form of file gives the same events; a broken file is named with its line."""

from __future__ import annotations

import datetime as dt
import gzip
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from claimscale.errors import BadInput

MAPPING = """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}
codes: [{table: drugs, patient: id, date: day, system: LAB, code: code, value: amount}]
"""
PEOPLE = "id,born,sex\n7,1950-04-01,1\n"
DRUGS = "id,day,code,amount\n7,2021-03-09,00é2,1.5\n7,2021-03-10,00é3,\n"
EXPECTED = {
    ("7", "MEDS_BIRTH", dt.date(1950, 4, 1), None),
    ("7", "SEX//M", dt.date(1950, 4, 1), None),
    ("7", "LAB//00é2", dt.date(2021, 3, 9), 1.5),
    ("7", "LAB//00é3", dt.date(2021, 3, 10), None),
}
HEADER, FIRST, SECOND = DRUGS.splitlines()


def found(events: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(row["source_id"], row["code"], row["time"].date(), row["numeric_value"]) for row in events}


def packed(text: str) -> bytes:
    return gzip.compress(text.encode())


CSV: dict[str, dict[str, str | bytes]] = {
    "comma": {"drugs.csv": DRUGS},
    "upper-case ending": {"DRUGS.CSV": DRUGS},
    "gzip": {"drugs.csv.gz": packed(DRUGS)},
    "gzip in two members": {"drugs.csv.gz": packed(HEADER + "\n" + FIRST + "\n") + packed(SECOND + "\n")},
    "tsv": {"drugs.tsv": DRUGS.replace(",", "\t")},
    "tsv and gzip": {"drugs.tsv.gz": packed(DRUGS.replace(",", "\t"))},
    "tabs in .csv": {"drugs.csv": DRUGS.replace(",", "\t")},
    "semicolons": {"drugs.csv": DRUGS.replace(",", ";")},
    "vertical bars": {"drugs.csv": DRUGS.replace(",", "|")},
    "semicolons, commas in names": {"drugs.csv": 'id;day;code;amount;"a,b"\n' + FIRST.replace(",", ";") + ';"x,y"\n' + SECOND.replace(",", ";") + ";\n"},
    "byte order mark": {"drugs.csv": b"\xef\xbb\xbf" + DRUGS.encode()},
    "CRLF": {"drugs.csv": DRUGS.replace("\n", "\r\n")},
    "no newline at the end": {"drugs.csv": DRUGS.rstrip("\n")},
    "blank lines at the end": {"drugs.csv": DRUGS + "\n\n"},
    "all quoted": {"drugs.csv": "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in DRUGS.splitlines()) + "\n"},
    "quoted delimiter": {"drugs.csv": f'{HEADER},note\n{FIRST},"a,b"\n{SECOND},"c ""d"""\n'},
    "quoted newline": {"drugs.csv": f'{HEADER},note\n{FIRST},"a\nb"\n{SECOND},c\n'},
    "mixed-case columns": {"drugs.csv": DRUGS.replace("id,day,code", "ID,Day,CODE")},
    "blanks around names": {"drugs.csv": DRUGS.replace("id,day,code,amount", "id , day, code ,amount ")},
    "folder of parts": {"drugs/1.csv": f"{HEADER}\n{FIRST}\n", "drugs/2.csv": f"{HEADER}\n{SECOND}\n"},
    "folder with an ending": {"drugs.csv/part-0.csv": DRUGS},
    "gzipped parts": {"drugs/1.csv.gz": packed(f"{HEADER}\n{FIRST}\n"), "drugs/2.csv.gz": packed(f"{HEADER}\n{SECOND}\n")},
    "gzipped and plain parts": {"drugs/1.csv.gz": packed(f"{HEADER}\n{FIRST}\n"), "drugs/2.csv": f"{HEADER}\n{SECOND}\n"},
    "nested parts": {"drugs/year=2021/a/1.csv": f"{HEADER}\n{FIRST}\n", "drugs/year=2022/2.csv": f"{HEADER}\n{SECOND}\n"},
    "notes of the writer": {"drugs/1.csv": DRUGS, "drugs/_SUCCESS": b"", "drugs/.1.csv.crc": b"\0", "drugs/_log/2.csv": "x"},
    "parts with another order": {"drugs/1.csv": f"{HEADER}\n{FIRST}\n", "drugs/2.csv": "code,id,day\n00é3,7,2021-03-10\n"},
    "column that is not used": {"drugs.csv": f"{HEADER},x\n{FIRST},\n{SECOND},5\n"},
    "a file of another name": {"drugs.csv": DRUGS, "readme.txt": "x", "drugs2.csv": "x"},
}  # fmt: skip


@pytest.mark.parametrize("form", CSV)
def test_forms_of_csv_give_the_same_events(form: str, ingest) -> None:
    events, quality = ingest({"people.csv": PEOPLE, **CSV[form]}, MAPPING)
    assert found(events) == EXPECTED
    assert not quality["quarantined"] and not quality["warnings"].keys() - {"single hospital"}


@pytest.mark.parametrize(
    ("encoding", "sign"),
    [
        ("utf-8", "é"), ("utf-8", "高"), ("utf-8", "𠮷"), ("utf-16", "é"), ("utf-16", "高"), ("utf-16", "𠮷"),
        ("cp932", "高"), ("cp932", "ソ"), ("cp1252", "é"), ("cp1252", "€"), ("latin-1", "é"), ("latin-1", "ß"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_encodings(encoding: str, sign: str, delimiter: str, ingest) -> None:
    files = {
        name: text.replace("é", sign).replace(",", delimiter).encode(encoding)
        for name, text in {"people.csv": PEOPLE, "drugs.csv": DRUGS}.items()
    }
    events, quality = ingest(files, MAPPING, encoding=encoding)
    expected = {(*row[:1], row[1].replace("é", sign), *row[2:]) for row in EXPECTED}
    assert found(events) == expected and not quality["quarantined"]


TEXT = pa.array(["00é2", "00é3"])
DAYS = [dt.datetime(2021, 3, 9), dt.datetime(2021, 3, 10)]
LATE = [dt.datetime(2021, 3, 9, 23, 30), dt.datetime(2021, 3, 10, 23, 30)]
COLUMNS: dict[str, dict[str, pa.Array]] = {
    "plain": {},
    "large_string": {"code": TEXT.cast(pa.large_string()), "id": pa.array(["7", "7"], pa.large_string())},
    "string_view": {"code": TEXT.cast(pa.string_view())},
    "dictionary": {"code": TEXT.dictionary_encode(), "id": pa.array(["7", "7"]).dictionary_encode()},
    "bytes": {"code": TEXT.cast(pa.binary()), "day": pa.array([b"20210309", b"20210310"])},
    "int8 id": {"id": pa.array([7, 7], pa.int8())},
    "int64 id": {"id": pa.array([7, 7], pa.int64())},
    "uint64 id": {"id": pa.array([7, 7], pa.uint64())},
    "float32 id": {"id": pa.array([7, 7], pa.float32())},
    "decimal id": {"id": pa.array([7, 7]).cast(pa.decimal128(20, 0))},
    "decimal id with places": {"id": pa.array([7, 7]).cast(pa.decimal128(38, 2))},
    "decimal value": {"amount": pa.array([1.5, None]).cast(pa.decimal128(10, 3))},
    "float32 value": {"amount": pa.array([1.5, None], pa.float32())},
    "text value": {"amount": pa.array(["1.5", None])},
    "text day": {"day": pa.array(["2021-03-09", "2021/3/10"])},
    "integer day": {"day": pa.array([20210309, 20210310])},
    "float day": {"day": pa.array([20210309.0, 20210310.0])},
    "decimal day": {"day": pa.array([20210309, 20210310]).cast(pa.decimal128(20, 0))},
    "date32": {"day": pa.array(DAYS).cast(pa.date32())},
    "date64": {"day": pa.array(DAYS).cast(pa.date64())},
    **{f"timestamp in {unit}": {"day": pa.array(LATE).cast(pa.timestamp(unit))} for unit in ("s", "ms", "us", "ns")},
    **{f"timestamp in {unit} of UTC": {"day": pa.array(LATE).cast(pa.timestamp(unit, tz="UTC"))} for unit in ("ms", "us", "ns")},
    **{
        f"{name} in {zone}": {"day": pc.assume_timezone(pa.array(days, pa.timestamp("us")), zone)}
        for name, days in (("midnight", DAYS), ("late", LATE))
        for zone in ("Asia/Tokyo", "America/New_York", "-05:30")
    },
}  # fmt: skip


def drugs(columns: dict[str, pa.Array]) -> pa.Table:
    plain = {"id": pa.array(["7", "7"]), "day": pa.array(DAYS).cast(pa.date32()), "code": TEXT}
    return pa.table(plain | {"amount": pa.array([1.5, None])} | columns)


@pytest.mark.parametrize("kind", COLUMNS)
def test_types_of_parquet_give_the_same_events(kind: str, ingest) -> None:
    events, quality = ingest({"people.csv": PEOPLE, "drugs.parquet": drugs(COLUMNS[kind])}, MAPPING)
    assert found(events) == EXPECTED and not quality["quarantined"]


@pytest.mark.parametrize(
    "names", [("drugs/a.parquet", "drugs/b.parquet"), ("drugs.parquet/a.snappy.parquet", "drugs.parquet/b=1/c.parquet")]
)  # fmt: skip
def test_parts_of_parquet(names: tuple[str, str], ingest) -> None:
    table = drugs({})
    parts = {names[0]: table.slice(0, 1), names[1]: table.slice(1)}
    events, _ = ingest({"people.csv": PEOPLE, "PEOPLE2.csv": "", **parts}, MAPPING)
    assert found(events) == EXPECTED


def test_a_column_of_nulls_alone_is_empty(ingest) -> None:
    table = drugs({"amount": pa.nulls(2), "day": pa.nulls(2)}).rename_columns(["ID", "Day", "CODE", "amount"])
    _, quality = ingest({"people.csv": PEOPLE, "drugs.parquet": table}, MAPPING)
    assert quality["quarantined"] == {"missing time": 2}


MANY = "".join(f"7,2021-03-09,A{number},\n" for number in range(30_000))
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a cell too few": ({"drugs.csv": f"{HEADER}\n{FIRST}\n7,2021-03-10\n"}, r"drugs\.csv, line 3: 2 cells instead of 4$"),
    "a cell too many": ({"drugs.csv": f"{HEADER}\n{FIRST},x\n"}, r"drugs\.csv, line 2: more than 4 cells$"),
    "after many rows": ({"drugs.csv": f"{HEADER}\n{MANY}7,2021\n"}, r"drugs\.csv, line 30002: 2 cells instead of 4$"),
    "an unclosed quote": ({"drugs.csv": f'{HEADER}\n{FIRST}\n7,"2021,x,\n'}, r"drugs\.csv, line 3: an unclosed quote"),
    "an unclosed quote after many rows": ({"drugs.csv": f'{HEADER}\n{MANY}7,"2021,x,\n'}, r"drugs\.csv, line 30002: an unclosed quote"),
    "text after a quote": ({"drugs.csv": f'{HEADER}\n7,"2021"x,x,\n'}, r"drugs\.csv, line 2: .*text after a closing one$"),
    "after a quoted newline": ({"drugs.csv": f'{HEADER}\n7,2021-03-09,"a\nb",\n7\n'}, r"drugs\.csv, line 4: 1 cell instead of 4$"),
    "in the second part": ({"drugs/1.csv": DRUGS, "drugs/2.csv": f"{HEADER}\n7\n"}, r"drugs/2\.csv, line 2: 1 cell instead of 4$"),
    "in gzip": ({"drugs.csv.gz": packed(f"{HEADER}\n7,x\n")}, r"drugs\.csv\.gz, line 2: 2 cells instead of 4$"),
    "with tabs": ({"drugs.tsv": f"{HEADER}\n7,x\n".replace(",", "\t")}, r"drugs\.tsv, line 2: 2 cells instead of 4$"),
    "gzip cut off": ({"drugs.csv.gz": packed(HEADER + MANY)[:-20]}, r"drugs\.csv\.gz: is no gzip file, or is cut off$"),
    "no gzip": ({"drugs.csv.gz": DRUGS}, r"drugs\.csv\.gz: is no gzip file, or is cut off$"),
    "empty gzip": ({"drugs.csv.gz": packed("")}, r"drugs\.csv\.gz: is empty$"),
    "not the encoding": ({"drugs.csv": DRUGS.encode("latin-1")}, r"drugs\.csv, line 2: is not utf-8 text \(source\.encoding\)$"),
    "two delimiters": ({"drugs/1.csv": DRUGS, "drugs/2.csv": DRUGS.replace(",", ";")}, r"2\.csv: has semicolons between its columns, and 1\.csv has commas$"),
    "plain and gzip": ({"drugs.csv": DRUGS, "drugs.csv.gz": packed(DRUGS)}, r"holds table drugs twice: drugs\.csv and drugs\.csv\.gz$"),
    "file and folder": ({"drugs.csv": DRUGS, "drugs/1.csv": DRUGS}, r"holds table drugs twice: drugs and drugs\.csv$"),
    "CSV and Parquet": ({"drugs.csv": DRUGS, "drugs.parquet": drugs({})}, r"holds table drugs as CSV and as Parquet$"),
    "another file among the parts": ({"drugs/1.csv": DRUGS, "drugs/2.xlsx": "x"}, r"2\.xlsx: is none of \.parquet, \.csv"),
    "names that differ in case": ({"drugs.csv": DRUGS.replace("day", "ID")}, r"drugs\.csv, line 1: column 'ID' is repeated$"),
    "a column of lists": ({"drugs.parquet": drugs({"code": pa.array([["a"], ["b"]])})}, r"column code holds values of type array<string>, not text"),
    "a column of times of day": ({"drugs.parquet": drugs({"day": pa.array([1, 2], pa.time32("s"))})}, r"column day holds values of type time, not text"),
    "codes as decimals": ({"drugs.parquet": drugs({"code": pa.array([1, 2]).cast(pa.decimal128(20, 0))})}, r"drugs\.code: holds numbers"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_named_with_its_line(fault: str, ingest) -> None:
    files, message = BROKEN[fault]
    with pytest.raises(BadInput, match=message) as caught:
        ingest({"people.csv": PEOPLE, **files}, MAPPING)
    assert "2021" not in str(caught.value).rpartition("/")[2] and "\n" not in str(caught.value)


def test_a_recoded_file_is_named_as_the_user_knows_it(ingest) -> None:
    files = {"people.csv": PEOPLE.encode("cp932"), "drugs.csv": f"{HEADER}\n7,高\n".encode("cp932")}
    with pytest.raises(BadInput, match=r"claims/drugs\.csv, line 2: 2 cells instead of 4$"):
        ingest(files, MAPPING, encoding="cp932")


def test_text_that_is_not_utf8_is_named_by_its_file_alone(ingest) -> None:
    names = pa.array([b"P\xe9ter", b"7"], pa.binary())
    with pytest.raises(BadInput, match=r"drugs\.parquet: holds text that is not UTF-8$") as caught:
        ingest({"people.csv": PEOPLE, "drugs.parquet": drugs({"code": names})}, MAPPING)
    assert "ter" not in str(caught.value).replace("pytest", "")


def test_one_column_in_two_zones_is_refused(ingest) -> None:
    zones = ("Asia/Tokyo", "UTC")
    parts = {
        f"drugs/{place}.parquet": drugs({"day": pc.assume_timezone(pa.array(LATE, pa.timestamp("us")), zone)})
        for place, zone in enumerate(zones)
    }
    with pytest.raises(BadInput, match="day is in UTC, in another file in Asia/Tokyo"):
        ingest({"people.csv": PEOPLE, **parts}, MAPPING)
