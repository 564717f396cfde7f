"""OMOP and DE-SynPUF are read from every form of CSV, with the same events."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from typing import Any

import pytest

from claimscale.errors import BadInput

OMOP = {
    "person": "person_id,gender_concept_id,year_of_birth\n1,8507,1950\n",
    "condition_occurrence": (
        "person_id,condition_concept_id,condition_start_date,condition_source_value\n1,0,2020-01-05,N18\n"
    ),
}
SYNPUF = {
    "DE1_0_2008_Beneficiary_Summary_File_Sample_1": (
        "DESYNPUF_ID,BENE_BIRTH_DT,BENE_DEATH_DT,BENE_SEX_IDENT_CD\nB1,19300101,,1\n"
    ),
    "DE1_0_2008_to_2010_Inpatient_Claims_Sample_1": (
        "DESYNPUF_ID,CLM_ID,CLM_FROM_DT,CLM_THRU_DT,PRVDR_NUM,NCH_BENE_DSCHRG_DT,ICD9_DGNS_CD_1\n"
        "B1,11,20080110,20080120,H9,20080120,4280\n"
    ),
    "DE1_0_2008_to_2010_Outpatient_Claims_Sample_1": (
        "DESYNPUF_ID,CLM_ID,CLM_FROM_DT,CLM_THRU_DT,PRVDR_NUM,HCPCS_CD_1\nB1,21,20080302,20080302,H1,36415\n"
    ),
    "DE1_0_2008_to_2010_Carrier_Claims_Sample_1A": (
        "DESYNPUF_ID,CLM_ID,CLM_FROM_DT,CLM_THRU_DT,HCPCS_CD_1\nB1,31,20080401,20080401,99213\n"
    ),
    "DE1_0_2008_to_2010_Prescription_Drug_Events_Sample_1": (
        "DESYNPUF_ID,PDE_ID,SRVC_DT,PROD_SRVC_ID\nB1,41,20080501,00093075601\n"
    ),
}
CODES = {
    "omop": {"MEDS_BIRTH", "SEX//M", "SOURCE//N18"},
    "synpuf": {
        "MEDS_BIRTH", "SEX//M", "ICD9CM//4280", "HCPCS//36415", "HCPCS//99213", "NDC//00093075601",
        "VISIT//INPATIENT", "VISIT//OUTPATIENT", "VISIT//CARRIER",
    },
}  # fmt: skip
FOLDERS = {"omop": OMOP, "synpuf": SYNPUF}


def lower_header(text: str) -> str:
    header, _, rows = text.partition("\n")
    return f"{header.swapcase()}\n{rows}"


FORMS: dict[str, Callable[[str, str], tuple[str, str | bytes]]] = {
    "plain": lambda name, text: (f"{name}.csv", text),
    "gzip": lambda name, text: (f"{name}.csv.gz", gzip.compress(text.encode())),
    "semicolons": lambda name, text: (f"{name}.csv", text.replace(",", ";")),
    "tabs": lambda name, text: (f"{name}.csv", text.replace(",", "\t")),
    "another case": lambda name, text: (f"{name}.csv", lower_header(text)),
    "byte order mark": lambda name, text: (f"{name}.csv", b"\xef\xbb\xbf" + text.encode()),
    "CRLF": lambda name, text: (f"{name}.csv", text.replace("\n", "\r\n")),
}
OMOP_ONLY: dict[str, Callable[[str, str], tuple[str, str | bytes]]] = {
    "tsv": lambda name, text: (f"{name}.tsv", text.replace(",", "\t")),
    "tsv and gzip": lambda name, text: (f"{name}.tsv.gz", gzip.compress(text.replace(",", "\t").encode())),
    "upper-case files": lambda name, text: (f"{name.upper()}.CSV", text),
    "folders": lambda name, text: (f"{name.upper()}/part-0.csv", text),
}
CASES = [(kind, form) for kind in FOLDERS for form in FORMS] + [("omop", form) for form in OMOP_ONLY]


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_forms_give_the_same_events(kind: str, form: str, ingest) -> None:
    write = (FORMS | OMOP_ONLY)[form]
    files: dict[str, Any] = dict(write(name, text) for name, text in FOLDERS[kind].items())
    events, quality = ingest(files, kind=kind)
    assert {row["code"] for row in events} == CODES[kind]
    assert not quality["quarantined"]


@pytest.mark.parametrize(
    ("kind", "table"), [(kind, table) for kind, tables in FOLDERS.items() for table in tables]
)
def test_a_short_row_is_named_with_its_file_and_line(kind: str, table: str, ingest) -> None:
    files = {f"{name}.csv": text for name, text in FOLDERS[kind].items()}
    files[f"{table}.csv"] += "SECRET,1\n"
    with pytest.raises(BadInput, match=rf"{re.escape(table)}\.csv, line 3: 2 cells instead of \d$") as caught:
        ingest(files, kind=kind)
    assert "SECRET" not in str(caught.value)
