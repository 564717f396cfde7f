from __future__ import annotations

import csv
import datetime as dt
from collections import Counter
from pathlib import Path


def rows_of(folder: Path, kind: str) -> list[tuple[Path, list[str]]]:
    files = sorted((folder / "dpc").glob(f"{kind}_*.txt"))
    return [
        (file, line.split("\t"))
        for file in files
        for line in file.read_bytes().decode("shift_jis").split("\r\n")[:-1]
    ]


def day_of(text: str) -> dt.date:
    return dt.datetime.strptime(text, "%Y%m%d").date()


def master(folder: Path, name: str, key: int, value: int) -> dict[str, str]:
    text = (folder / "masters" / name).read_bytes().decode("cp932")
    return {row[key]: row[value] for row in csv.reader(text.split("\r\n")[:-1])}


def facts_of(folder: Path) -> Counter:
    icd10 = master(folder, "b_00000000.txt", 2, 15)
    price = master(folder, "y_ALL00000000.csv", 2, 31)
    atc = dict(line.split(",") for line in (folder / "masters" / "atc.csv").read_text().splitlines()[1:])
    found: Counter = Counter()
    for kind in ("EFn", "EFg"):
        for file, row in rows_of(folder, kind):
            assert len(row) == 31
            patient = int(row[1])
            if row[4] == "SY":
                assert (kind, row[7]) == ("EFg", row[8])
                month = dt.date(2000 + int(file.name[14:16]), int(file.name[16:18]), 1)
                found[patient, month, "ICD10//" + icd10[row[8]], row[9] == "8002"] += 1
            elif row[6] != "000":
                code = "KUBUN//" + row[9] if row[9] else "ATC//" + atc[price[row[8]]]
                found[patient, day_of(row[23]), code, False] += 1
    diseases = set()
    for _, row in rows_of(folder, "FF1"):
        assert len(row) == 17
        if row[5].startswith("A0060"):
            assert icd10[row[11]] == row[9]
            month = day_of(row[2]).replace(day=1)
            diseases.add((int(row[1]), row[2], month, "ICD10//" + row[9], row[12] == "8002"))
    for patient, _, month, code, suspected in diseases:
        found[patient, month, code, suspected] += 1
    return found


def test_survey_files_hold_every_claimed_event(known, written):
    assert facts_of(written("dpc", known.events)) == known.facts


def test_form_1_holds_stays_and_people(known, written):
    folder = written("dpc", known.events)
    admitted, discharged, people = {}, {}, {}
    for file, row in rows_of(folder, "FF1"):
        assert row[0] == file.name[4:13]
        key = (row[1], row[2])
        if row[5] == "A000010":
            people[int(row[1])] = (day_of(row[8]), {"1": "M", "2": "F"}[row[9]])
        elif row[5] == "A000020":
            admitted[key] = day_of(row[8])
        elif row[5] == "A000030":
            discharged[key] = day_of(row[8])
    assert {(int(key[0]), admitted[key], discharged[key]) for key in admitted} == known.stays
    assert all(known.patients[subject] == person for subject, person in people.items())


def test_a_death_in_a_stay_is_its_outcome(by_hand, written):
    rows = [row for _, row in rows_of(written("dpc", by_hand.events), "FF1") if row[5] == "A000030"]
    assert {row[1]: row[10] for row in rows} == {"0000000002": "6", "0000000006": "2"}


def test_stays_have_both_ends_and_outpatients_birth_and_visit(by_hand, written):
    folder = written("dpc", by_hand.events)
    stay = {tuple(row[2:4]) for _, row in rows_of(folder, "EFn") if row[1] == "0000000002"}
    visits = {tuple(row[2:4]) for _, row in rows_of(folder, "EFg") if row[1] == "0000000001"}
    assert stay == {("20200229", "20200210")}
    assert visits == {("19500228", "20190430"), ("19500228", "20190531")}


def test_each_detail_follows_its_header(known, written):
    for kind in ("EFn", "EFg"):
        rows = [row for _, row in rows_of(written("dpc", known.events), kind) if row[4] != "SY"]
        for head, detail in zip(rows[::2], rows[1::2], strict=True):
            assert (head[6], detail[6]) == ("000", "001")
            assert head[:6] + head[7:11] == detail[:6] + detail[7:11]
