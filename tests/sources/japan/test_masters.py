"""Master files give the meaning of receipt codes; invalid files are refused."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from pathlib import Path

import ibis
import pytest

from claimscale.errors import BadInput
from claimscale.simulator.parameters import build_country
from claimscale.simulator.writers.masters import SimulatedMasters
from claimscale.sources.japan import masters

LIVE = "99999999"


def row(width: int, fields: dict[int, str]) -> str:
    return ",".join(f'"{fields.get(column, "")}"' for column in range(1, width + 1)) + "\r\n"


def disease(code: str, icd10: str, ended: str = LIVE) -> str:
    return row(46, {2: "B", 3: code, 6: "模擬", 16: icd10, 24: ended})


def drug(code: str, price_code: str) -> str:
    return row(40, {2: "Y", 3: code, 31: LIVE, 32: price_code})


def act(code: str, chapter: str, section: str, branch: str = "00", item: str = "000") -> str:
    return row(150, {2: "S", 3: code, 85: chapter, 88: LIVE, 92: section, 93: branch, 94: item})


TABLES = {
    "b_20240601.txt": disease("0000001", "N189") + disease("0000002", "I10") + disease("0000003", ""),
    "y_ALL20240601.csv": drug("600000001", "1190017M1020"),
    "s_ALL20240601.csv": act("100000001", "K", "695", "02", "003") + act("100000002", "-", "001"),
}


def write(folder: Path, **replaced: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in (TABLES | replaced).items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode("cp932"))
    return folder


def test_simulated_masters_map_back_to_every_code(tmp_path) -> None:
    country = SimulatedMasters.of(build_country(5, 11).codes)
    country.write(tmp_path / "masters")
    known = masters.load(str(tmp_path / "masters"))
    expected = {f"DISEASE//{code}": f"ICD10//{icd10}" for icd10, code in country.diseases.items()}
    expected |= {f"RECEIPT//{each.receipt_code}": f"YJ//{each.price_code}" for each in country.drugs.values()}
    expected |= {f"RECEIPT//{each.receipt_code}": f"KUBUN//{kubun}" for kubun, each in country.acts.items()}
    assert known.codes == expected
    assert known.suspected == {"8002"}
    assert not known.abolished


@pytest.mark.parametrize(
    ("place", "kubun"),
    [
        (("K", "695", "02", "003"), "K695-23"),
        (("K", "920", "02", "000"), "K920-2"),
        (("D", "007", "00", "001"), "D0071"),
        (("A", "002", "00", "000"), "A002"),
        (("G", "010", "10", "000"), "G010-10"),
    ],
)
def test_act_codes_have_the_form_of_the_fee_schedule(place, kubun, tmp_path) -> None:
    write(tmp_path, **{"s_ALL20240601.csv": act("100000001", *place)})
    assert masters.load(str(tmp_path)).codes["RECEIPT//100000001"] == f"KUBUN//{kubun}"


def test_codes_without_target_and_unlisted_codes_differ(tmp_path, engine) -> None:
    known = masters.load(str(write(tmp_path / "masters")))
    codes = [
        "DISEASE//0000001",
        "DISEASE//0000003",
        "RECEIPT//100000002",
        "RECEIPT//199999999",
        "SEX//M",
        None,
    ]
    events = ibis.memtable({"code": codes}, schema={"code": "string"})
    found = engine.to_arrow(masters.translate_events(events, known, engine, tmp_path / "codes.parquet"))
    assert {row["code"]: row["note"] for row in found.to_pylist()} == {
        "ICD10//N189": None,
        "DISEASE//0000003": masters.WITHOUT_TARGET,
        "RECEIPT//100000002": masters.WITHOUT_TARGET,
        "RECEIPT//199999999": masters.NOT_IN_MASTERS,
        "SEX//M": None,
        None: None,
    }
    # One by one they are the same.
    warnings: Counter[str] = Counter()
    alone = [known.translate(code, warnings) for code in codes[:4]]
    assert set(alone) == {row["code"] for row in found.to_pylist()} - {"SEX//M", None}
    assert warnings == {masters.NOT_IN_MASTERS: 1, masters.WITHOUT_TARGET: 2}


def test_the_newest_file_that_lists_a_code_is_used(tmp_path) -> None:
    # The name says how new a file is, not its place in the alphabet: b_ALL... comes after b_2....
    older = disease("0000001", "N18") + disease("0000009", "E119")
    newer = disease("0000001", "N189") + disease("0000002", "I10", "20230331")
    write(tmp_path, **{"b_20240601.txt": newer, "b_ALL20120401.txt": older})
    known = masters.load(str(tmp_path))
    assert known.codes["DISEASE//0000001"] == "ICD10//N189"
    assert known.codes["DISEASE//0000009"] == "ICD10//E119"
    # Abolished codes keep their meaning, and are known to be abolished.
    assert known.codes["DISEASE//0000002"] == "ICD10//I10"
    assert known.abolished == {"DISEASE//0000002"}


def test_zipped_masters_are_the_same(tmp_path) -> None:
    plain = write(tmp_path / "plain")
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    for name, text in TABLES.items():
        with zipfile.ZipFile(zipped / f"{name[:2]}20240601.ZIP", "w") as archive:
            archive.writestr(f"folder/{name}", text.encode("cp932"))
            archive.writestr("README.txt", "not a master")
    assert masters.load(str(zipped)) == masters.load(str(plain))


def test_modifiers_have_four_digits() -> None:
    assert masters.is_suspected("20498002")
    assert not masters.is_suspected("18002000")
    assert not masters.is_suspected("")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "b_20240601.txt",
            TABLES["b_20240601.txt"] + "0,B\r\n",
            r"b_20240601\.txt, line 4: is no row of a b_",
        ),
        ("y_ALL20240601.csv", TABLES["s_ALL20240601.csv"], r"y_ALL20240601\.csv, line 1: is no row of a y_"),
        ("b_20240601.txt", b'"0","B","0000001","\x82"', r"b_20240601\.txt, line 1: .* CP932"),
        ("b_20240601.txt", b'"0","B","00\x00', r"b_20240601\.txt, line 1: is "),
        ("s_20240601.zip", b"PK no zip", r"s_20240601\.zip: is no zip file"),
    ],
)
def test_invalid_master_files_are_refused(name, content, message, tmp_path) -> None:
    write(tmp_path, **{name: content})
    with pytest.raises(BadInput, match=message):
        masters.load(str(tmp_path))


def test_missing_masters_are_named(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"source\.masters: .*absent is not a folder"):
        masters.files_of(str(tmp_path / "absent"))
    with pytest.raises(BadInput, match="holds no master file"):
        masters.files_of(str(tmp_path))
    write(tmp_path)
    (tmp_path / "y_ALL20240601.csv").unlink()
    with pytest.raises(BadInput, match=r"holds no y_\*"):
        masters.load(str(tmp_path))


def real_folder() -> Path:
    beside = Path(__file__).parents[3].parent / "shared" / "data" / "jp-masters"
    return Path(os.environ.get("CLAIMSCALE_MASTERS", beside))


@pytest.mark.skipif(
    not real_folder().is_dir(), reason="no master files: set CLAIMSCALE_MASTERS to their folder"
)
def test_national_masters_are_read_whole() -> None:
    known = masters.load(str(real_folder()))
    assert known.suspected == {"8002"}
    assert known.codes["DISEASE//8833421"] == "ICD10//I10"
    assert known.codes["DISEASE//5859002"] == known.codes["DISEASE//8844106"] == "ICD10//N189"
    systems = {code.partition("//")[0] for code in known.codes.values() if code}
    assert systems == {"ICD10", "YJ", "KUBUN"}
    assert len(known.codes) > 50_000
    without = sum(not target for target in known.codes.values())
    assert without < 0.01 * len(known.codes)
