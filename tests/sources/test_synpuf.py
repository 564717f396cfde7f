"""DE-SynPUF files become events, cell by cell."""

import datetime as dt
import os
from collections import Counter
from pathlib import Path

import pytest

from claimscale.config.execution import EngineSettings
from claimscale.config.sources import SynpufSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import fingerprint, synpuf

BENEFICIARY = """\
DESYNPUF_ID,BENE_BIRTH_DT,BENE_DEATH_DT,BENE_SEX_IDENT_CD
B2,19400501,,2
B1,19300101,20090201,1
"""
INPATIENT = """\
DESYNPUF_ID,CLM_ID,SEGMENT,CLM_FROM_DT,CLM_THRU_DT,PRVDR_NUM,ADMTNG_ICD9_DGNS_CD,NCH_BENE_DSCHRG_DT,\
ICD9_DGNS_CD_1,ICD9_DGNS_CD_2,ICD9_PRCDR_CD_1,HCPCS_CD_1
B1,11,1,20080110,20080120,H9,0389,20080120,4280,,3995,
"""
OUTPATIENT = """\
DESYNPUF_ID,CLM_ID,SEGMENT,CLM_FROM_DT,CLM_THRU_DT,PRVDR_NUM,ICD9_DGNS_CD_1,ICD9_DGNS_CD_10,ICD9_PRCDR_CD_1,\
ADMTNG_ICD9_DGNS_CD,HCPCS_CD_1
B2,21,1,20080302,20080305,H1,25000,v5869,,,36415
B3,22,1,2008030X,,H1,4019,,,,
"""
CARRIER = """\
DESYNPUF_ID,CLM_ID,CLM_FROM_DT,CLM_THRU_DT,ICD9_DGNS_CD_1,HCPCS_CD_1,LINE_ICD9_DGNS_CD_1,LINE_ICD9_DGNS_CD_13
B1,31,20080401,20080401,,99213,496,2724
"""
DRUG = """\
DESYNPUF_ID,PDE_ID,SRVC_DT,PROD_SRVC_ID
B2,41,20080501,00093075601
B2,42,20080502,
"""
FILES = {
    "DE1_0_2008_Beneficiary_Summary_File_Sample_1.csv": BENEFICIARY,
    "DE1_0_2009_Beneficiary_Summary_File_Sample_1.csv": BENEFICIARY,
    "DE1_0_2008_to_2010_Inpatient_Claims_Sample_1.csv": INPATIENT,
    "DE1_0_2008_to_2010_Outpatient_Claims_Sample_1.csv": OUTPATIENT,
    "DE1_0_2008_to_2010_Carrier_Claims_Sample_1A.csv": CARRIER,
    "DE1_0_2008_to_2010_Prescription_Drug_Events_Sample_1.csv": DRUG,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    claims = tmp_path / "claims"
    claims.mkdir()
    for name, text in FILES.items():
        (claims / name).write_text(text, "utf-8")
    return claims


@pytest.fixture
def read(tmp_path: Path):
    """Read a folder; returns the events as rows and the quality."""
    with Engine(EngineSettings(), tmp_path / "engine") as engine:

        def reader(folder: Path):
            raw = synpuf.read(SynpufSource(kind="synpuf", path=str(folder)), engine, engine.scratch / "raw")
            return engine.to_arrow(raw.table).to_pylist(), raw.rows

        yield reader


def test_every_filled_cell_becomes_an_event(folder: Path, read) -> None:
    events, _ = read(folder)
    found = {(row["patient"], row["code"]) for row in events}
    assert found == {
        ("B1", "MEDS_BIRTH"), ("B1", "SEX//M"), ("B1", "MEDS_DEATH"), ("B2", "MEDS_BIRTH"), ("B2", "SEX//F"),
        ("B1", "ICD9CM//0389"), ("B1", "ICD9CM//4280"), ("B1", "ICD9PROC//3995"), ("B1", "VISIT//INPATIENT"),
        ("B2", "ICD9CM//25000"), ("B2", "ICD9CM//V5869"), ("B2", "HCPCS//36415"), ("B2", "VISIT//OUTPATIENT"),
        ("B3", "ICD9CM//4019"), ("B3", "VISIT//OUTPATIENT"),
        ("B1", "HCPCS//99213"), ("B1", "ICD9CM//496"), ("B1", "ICD9CM//2724"), ("B1", "VISIT//CARRIER"),
        ("B2", "NDC//00093075601"), ("B2", None),
    }  # fmt: skip


def test_claims_are_available_when_they_end(folder: Path, read) -> None:
    events, _ = read(folder)
    by_code = {row["code"]: row for row in events}
    stay = by_code["ICD9CM//4280"]
    assert (stay["time"], stay["available_at"]) == (dt.datetime(2008, 1, 10), dt.datetime(2008, 1, 20))
    assert (stay["hospital_id"], stay["visit_id"], stay["suspected"]) == ("H9", "11", False)
    assert by_code["ICD9CM//25000"]["available_at"] == dt.datetime(2008, 3, 5)
    assert by_code["HCPCS//99213"]["hospital_id"] is None
    # Known to the month only, so that the month's own claims are not after death.
    assert by_code["MEDS_DEATH"]["time"] == dt.datetime(2009, 2, 28)
    # No such date: it is dropped, never guessed.
    assert by_code["ICD9CM//4019"]["time"] is None


def test_row_counts_equal_those_of_the_files(folder: Path, read) -> None:
    events, rows = read(folder)
    lines = {"beneficiary": 4, "inpatient": 1, "outpatient": 2, "carrier": 1, "drug": 2}
    assert {kind: counts["rows"] for kind, counts in rows.items()} == lines
    made = Counter(row["source_table"] for row in events)
    assert all(made[kind] >= counts["rows"] for kind, counts in rows.items())


def test_observation_periods_are_insured_years(folder: Path, tmp_path: Path) -> None:
    columns = BENEFICIARY.partition("\n")[0] + ",BENE_HI_CVRAGE_TOT_MONS,BENE_SMI_CVRAGE_TOT_MONS"
    rows = {
        2008: ["B1,19300101,,1,12,12", "B2,19400501,,2,12,0"],
        2009: ["B1,19300101,20090201,1,2,2", "B2,19400501,,2,12,3"],
    }
    for year, lines in rows.items():
        file = folder / f"DE1_0_{year}_Beneficiary_Summary_File_Sample_1.csv"
        file.write_text("\n".join([columns, *lines, ""]), "utf-8")
    with Engine(EngineSettings(), tmp_path / "engine") as engine:
        raw = synpuf.read(SynpufSource(kind="synpuf", path=str(folder)), engine, engine.scratch / "raw")
        assert raw.observation is not None
        periods = engine.to_arrow(raw.observation).to_pylist()
    found = {(row["patient"], f"{row['start']:%Y-%m-%d}", f"{row['end']:%Y-%m-%d}") for row in periods}
    # Without medical insurance in 2008 B2 could not be seen by a physician; B1 died in February 2009.
    assert found == {
        ("B1", "2008-01-01", "2008-12-31"),
        ("B1", "2009-01-01", "2009-02-28"),
        ("B2", "2009-01-01", "2009-12-31"),
    }


@pytest.mark.parametrize("kind", list(synpuf.FILES))
def test_missing_file_is_named(kind: str, folder: Path, read) -> None:
    for file in folder.glob(synpuf.FILES[kind]):
        file.unlink()
    with pytest.raises(BadInput, match=f"holds no {kind} file"):
        read(folder)


def test_missing_folder_and_column_are_named(folder: Path, read) -> None:
    with pytest.raises(BadInput, match=r"source\.path: .*absent is not a folder"):
        read(folder / "absent")
    carrier = next(folder.glob("*Carrier*"))
    carrier.write_text(CARRIER.replace("CLM_FROM_DT", "FROM"), "utf-8")
    with pytest.raises(BadInput, match=r"Carrier.*has no column CLM_FROM_DT"):
        read(folder)


def test_fingerprint_changes_with_the_files(folder: Path) -> None:
    source = SynpufSource(kind="synpuf", path=str(folder))
    before = fingerprint(source)
    assert before == fingerprint(source)
    assert len(before["files"]) == len(FILES)
    drug = next(folder.glob("*Prescription*"))
    drug.write_text(DRUG + "B2,43,20080503,00093075602\n", "utf-8")
    assert fingerprint(source) != before


def real_folder() -> Path:
    beside = Path(__file__).parents[2].parent / "shared" / "data" / "synpuf-500"
    return Path(os.environ.get("CLAIMSCALE_SYNPUF", beside))


@pytest.mark.skipif(not real_folder().is_dir(), reason="no DE-SynPUF folder: set CLAIMSCALE_SYNPUF to one")
def test_real_files_are_read_whole(read) -> None:
    events, rows = read(real_folder())
    for kind, files in synpuf.files_of(SynpufSource(kind="synpuf", path=str(real_folder()))).items():
        lines = sum(len(file.read_text("utf-8").splitlines()) - 1 for file in files)
        assert rows[kind]["rows"] == lines
        assert sum(event["source_table"] == kind for event in events) >= lines
