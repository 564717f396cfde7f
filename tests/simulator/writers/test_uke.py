from __future__ import annotations

import csv
import datetime as dt
from collections import Counter
from pathlib import Path

import pytest

WIDTHS = {"IR": 10, "SY": 8, "SI": 44, "IY": 44, "GO": 4, "BU": 6, "SB": 8, "KK": 14, "CD": 11}
WIDTHS_BY_FILE = {"C": {"RE": 38, "HO": 15}, "D": {"RE": 40, "HO": 16}}
ERA_BASE = {"1": 1867, "2": 1911, "3": 1925, "4": 1988, "5": 2018}


def day_of(text: str) -> dt.date:
    """A western or Japanese date, distinguished by its length."""
    year = int(text[:4]) if len(text) == 8 else ERA_BASE[text[0]] + int(text[1:3])
    return dt.date(year, int(text[-4:-2]), int(text[-2:]))


def month_of(text: str) -> dt.date:
    return day_of(text + "01")


def table(file: Path) -> list[list[str]]:
    return list(csv.reader(file.read_bytes().decode("cp932").split("\r\n")[:-1]))


class Masters:
    """The code tables, read by column number as the national layout has them."""

    def __init__(self, folder: Path) -> None:
        self.diseases = {row[2]: row[15] for row in table(folder / "b_00000000.txt")}
        atc = dict(line.split(",") for line in (folder / "atc.csv").read_text().splitlines()[1:])
        self.drugs = {row[2]: atc[row[31]] for row in table(folder / "y_ALL00000000.csv")}
        self.acts = {row[2]: _kubun(row) for row in table(folder / "s_ALL00000000.csv")}
        self.modifiers = {row[2]: row[6] for row in table(folder / "z_00000000.txt")}

    def code(self, receipt_code: str) -> str:
        if receipt_code in self.drugs:
            return "ATC//" + self.drugs[receipt_code]
        return "KUBUN//" + self.acts[receipt_code]


def _kubun(row: list[str]) -> str:
    branch, item = int(row[92]), int(row[93])
    return row[84] + row[91] + (f"-{branch}" if branch else "") + (str(item) if item else "")


def receipts(folder: Path) -> list[tuple[Path, list[list[list[str]]]]]:
    """Per file its receipts: the records from each RE to the next, without the ends of the file."""
    found = []
    for file in sorted((folder / "uke").rglob("*.UKE")):
        lines = [line.split(",") for line in file.read_bytes().decode("cp932").split("\r\n")[:-1]]
        assert lines[0][0] == "IR"
        assert lines[-1][0] == "GO"
        parts: list[list[list[str]]] = []
        for record in lines[1:-1]:
            if record[0] == "RE":
                parts.append([])
            parts[-1].append(record)
        found.append((file, parts))
    return found


def suspected(modifiers: str) -> bool:
    return "8002" in [modifiers[at : at + 4] for at in range(0, len(modifiers), 4)]


def facts_of(folder: Path) -> tuple[Counter, set]:
    """Claimed events and stays as a reader would find them."""
    masters = Masters(folder / "masters")
    found: Counter = Counter()
    stays = set()
    for _, parts in receipts(folder):
        for records in parts:
            head = records[0]
            patient, month = int(head[13]), month_of(head[3])
            diseases = set()
            for record in records:
                if record[0] == "SY":
                    assert (record[1], suspected(record[4])) not in diseases
                    diseases.add((record[1], suspected(record[4])))
                elif record[0] == "SB":  # a disease of a stay is repeated for each role it plays
                    assert masters.diseases[record[1]] == record[4]
                    diseases.add((record[1], suspected(record[2])))
                elif record[0] in ("SI", "IY"):
                    assert sum(map(int, filter(None, record[13:]))) == int(record[6]) == 1
                    date = month.replace(day=record.index("1", 13) - 12)
                    found[patient, date, masters.code(record[3]), False] += 1
                elif record[0] == "CD":
                    found[patient, day_of(record[1]), masters.code(record[5]), False] += 1
                elif record[0] == "BU":
                    stays.add((patient, day_of(record[2]), day_of(record[3])))
            for code, is_suspected in diseases:
                found[patient, month, "ICD10//" + masters.diseases[code], is_suspected] += 1
    return found, stays


@pytest.mark.parametrize("wareki", [False, True])
def test_receipts_and_masters_hold_every_claimed_event(known, written, wareki):
    facts, stays = facts_of(written("uke", known.events, wareki=wareki))
    assert facts == known.facts
    assert stays == known.stays


@pytest.mark.parametrize("wareki", [False, True])
def test_receipts_have_sex_and_birth_of_patients_with_claims(known, written, wareki):
    folder = written("uke", known.events, wareki=wareki)
    heads = [records[0] for _, parts in receipts(folder) for records in parts]
    people = {int(head[13]): (day_of(head[6]), {"1": "M", "2": "F"}[head[5]]) for head in heads}
    came = {row["subject_id"] for row in known.events.to_pylist() if row["visit_id"]}
    assert people == {subject: person for subject, person in known.patients.items() if subject in came}
    assert {len(head[6]) for head in heads} == {7 if wareki else 8}
    assert not any(head[4] or head[36] for head in heads)  # no names


def test_records_have_their_width_and_order(known, written):
    order = ["RE", "HO", "BU", "SB", "KK", "SY", "SI", "CD"]
    for file, parts in receipts(written("uke", known.events)):
        widths = WIDTHS | WIDTHS_BY_FILE[file.name[7]]
        assert [int(records[0][1]) for records in parts] == list(range(1, len(parts) + 1))
        for records in parts:
            assert all(len(record) == widths[record[0]] for record in records)
            ranks = [order.index(record[0].replace("IY", "SI")) for record in records]
            assert ranks == sorted(ranks)


def test_a_file_has_one_hospital_month_and_setting(known, written):
    folder = written("uke", known.events)
    hospital_of = {
        row["subject_id"]: row["hospital_id"] for row in known.events.to_pylist() if row["visit_id"]
    }
    for file, parts in receipts(folder):
        hospital, month = file.parts[-3:-1]
        assert file.name in ("RECEIPTC_000000.UKE", "RECEIPTD_000000.UKE")
        for records in parts:
            head = records[0]
            assert hospital_of[int(head[13])] == hospital
            assert head[3] == month
            assert head[2].startswith("4" if "RECEIPTD" in file.name else "1")
            assert ("BU" in {record[0] for record in records}) == ("RECEIPTD" in file.name)


def test_totals_add_up(known, written):
    for file in sorted((written("uke", known.events) / "uke").rglob("RECEIPTC*")):
        lines = [line.split(",") for line in file.read_bytes().decode("cp932").split("\r\n")[:-1]]
        billed = sum(int(record[5]) for record in lines if record[0] in ("SI", "IY"))
        assert sum(int(record[5]) for record in lines if record[0] == "HO") == billed
        assert lines[-1] == ["GO", str(sum(record[0] == "RE" for record in lines)), str(billed), "99"]


def test_only_the_first_record_of_a_block_has_an_identification(known, written):
    several = 0
    for _, parts in receipts(written("uke", known.events)):
        for records in parts:
            blocks = [record[1] for record in records if record[0] in ("SI", "IY")]
            named = [block for block in blocks if block]
            assert named == sorted(set(named))
            assert not blocks or blocks[0]
            several += len(blocks) - len(named)
    assert several > 0


def test_each_claim_with_diseases_has_one_main_disease(known, written):
    for file, parts in receipts(written("uke", known.events)):
        for records in parts:
            if "RECEIPTC" in file.name:
                flags = [record[6] for record in records if record[0] == "SY"]
                assert flags.count("01") == bool(flags)
            else:
                roles = [record[5] for record in records if record[0] == "SB"]
                assert not roles or [roles.count(role) for role in ("01", "11", "21")] == [1, 1, 1]


def test_treatment_starts_on_the_first_day_of_the_disease(by_hand, written):
    begins = {}
    for _, parts in receipts(written("uke", by_hand.events)):
        for records in parts:
            for record in records:
                if record[0] == "SY" and records[0][13] == "1":
                    begins[records[0][3], record[1], record[4]] = record[2]
    masters = Masters(written("uke", by_hand.events) / "masters")
    disease = {icd10: code for code, icd10 in masters.diseases.items()}
    assert begins["201905", disease["I10"], ""] == "20190430"
    assert begins["201905", disease["N189"], "8002"] == "20190430"
    assert begins["201905", disease["N189"], ""] == "20190531"


def test_only_the_last_claim_of_its_month_records_a_death(by_hand, written):
    died = []
    for file, parts in receipts(written("uke", by_hand.events)):
        for records in parts:
            for record in records:
                if (record[0] == "SY" and record[3] == "3") or (record[0] == "BU" and record[4] in "67"):
                    died.append((records[0][13], records[0][3], file.name[7], record[0]))
    # Patient 2 dies in the stay, patient 3 after the visit; no claim records the death of patient 4.
    assert sorted(died) == [("2", "202002", "D", "BU"), ("3", "202112", "C", "SY")]


def test_japanese_eras_change_on_their_day(by_hand, written):
    folder = written("uke", by_hand.events, wareki=True)
    heads = {
        (records[0][13], file.parts[-2]): records[0] for file, parts in receipts(folder) for records in parts
    }
    assert heads["1", "201904"][3] == "43104"
    assert heads["1", "201905"][3] == "50105"
    assert heads["6", "202002"][6] == "2140304"


def test_names_are_japanese_in_cp932(by_hand, written):
    folder = written("uke", by_hand.events)
    first = (folder / "uke" / "H042" / "202112" / "RECEIPTC_000000.UKE").read_bytes()
    assert first.startswith("IR,1,43,1,0000042,,模擬病院H042,202201,00,".encode("cp932"))


def test_a_stay_bills_only_operations_anaesthesia_and_ward(by_hand, written):
    folder = written("uke", by_hand.events)
    masters = Masters(folder / "masters")
    found: dict[str, set[str]] = {"SI": set(), "IY": set(), "CD": set()}
    for file, parts in receipts(folder):
        for records in parts:
            if "RECEIPTD" in file.name and records[0][13] == "2":
                for record in records:
                    if record[0] in found:
                        code = record[5] if record[0] == "CD" else record[3]
                        found[record[0]].add(masters.code(code).split("//")[1])
    assert found == {"SI": {"A100", "K695-23", "L1002"}, "IY": set(), "CD": {"D0071", "V03AE02", "A10BA02"}}


def test_the_main_disease_is_confirmed_where_any_is(known, written):
    for _, parts in receipts(written("uke", known.events)):
        for records in parts:
            roles = {record[0]: (6, 4) if record[0] == "SY" else (5, 2) for record in records}
            diseases = [record for record in records if record[0] in ("SY", "SB")]
            is_main = [record for record in diseases if record[roles[record[0]][0]] == "01"]
            doubts = [suspected(record[roles[record[0]][1]]) for record in diseases]
            if diseases:
                assert suspected(is_main[0][roles[is_main[0][0]][1]]) == all(doubts)


def test_the_kind_of_receipt_follows_from_age_and_setting(known, written):
    kinds = set()
    for file, parts in receipts(written("uke", known.events)):
        for records in parts:
            head = records[0]
            month, birth = month_of(head[3]), day_of(head[6])
            age = month.year - birth.year - ((month.month, month.day) < (birth.month, birth.day))
            person = "114" if age < 6 else "112" if age < 70 else "118" if age < 75 else "318"
            assert head[2] == {"C": "1", "D": "4"}[file.name[7]] + person
            kinds.add(head[2])
    assert len(kinds) > 2
