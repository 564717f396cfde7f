"""Electronic receipts (レセプト電算処理, UKE files of 医科 and DPC), line by line.

A receipt is a patient's claim of one month at one facility. Fields are read by position, short lines are
padded, records that are not known are counted. Field numbers in comments count from 1.
Source: 社会保険診療報酬支払基金, レセプト電算処理システム 記録条件仕様 (医科, DPC).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from claimscale.codes import BIRTH, DEATH, SEX_PREFIX
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import masters as master_files
from claimscale.sources.japanese_dates import NO_DATE, day_of, last_day, month_of
from claimscale.sources.masters import DISEASE, RECEIPT, Masters, is_suspected
from claimscale.sources.parts import Parts
from claimscale.sources.raw import RawEvents
from claimscale.sources.text import lines_of
from claimscale.study import ReceiptSource

WIDTH = 50
"""Fields a line is padded to: more than any record has."""
FREE_TEXT_DISEASE = "0000999"
MATERIAL = "MATERIAL//"
ADMISSION, DISCHARGE = "VISIT//ADMISSION", "VISIT//DISCHARGE"
SEXES = {"1": "M", "2": "F"}
DIED = "3"
DIED_IN_HOSPITAL = ("6", "7")
"""転帰 of a disease, and of a DPC stay (of the main disease, of another)."""
FIRST_DAY_OF_ACTS, FIRST_DAY_OF_MATERIALS, DAYS = 13, 17, 31

NOT_READ = {
    "UK": "file header",
    "HO": "insurance",
    "KO": "insurance",
    "CO": "comment",
    "SJ": "free text",
    "KK": "patient's state",
    "SK": "act of the grouping",
    "GA": "leave",
    "HH": "day rates",
    "GT": "day rates",
}
"""Records that say nothing coded about a patient, or nothing that other records do not say."""


def files_of(source: ReceiptSource) -> dict[str, list[Path]]:
    """All UKE files below the folder, and the masters. Raises BadInput if there are none."""
    folder = Path(source.path)
    if not folder.is_dir():
        raise BadInput(f"source.path: {folder} is not a folder")
    receipts = sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".uke")
    if not receipts:
        raise BadInput(f"source.path: {folder} holds no receipts (*.UKE)")
    return {"receipts": receipts, "masters": master_files.files_of(source.masters)}


def read(source: ReceiptSource, engine: Engine, scratch: Path) -> RawEvents:
    """All receipts as raw events. Raises BadInput for a file that is no UKE file, with the line."""
    masters = master_files.load(source.masters)
    parts = Parts(scratch / "receipts")
    for file in files_of(source)["receipts"]:
        read_file(file, source.patient, masters, parts)
    return parts.finish(engine)


def read_file(file: Path, patient_key: str, masters: Masters, parts: Parts) -> None:
    """One file's receipts, added to `parts`."""
    reader = _Reader(patient_key, masters, parts)
    for number, line in lines_of(file):
        fields = line.split(",")
        reader.take(fields + [""] * (WIDTH - len(fields)), f"{file}, line {number}")
    reader.end()


@dataclass(frozen=True)
class _Receipt:
    """What all lines of a receipt share."""

    patient: str | None
    hospital: str
    visit: str
    month: dt.date | None
    known: dt.date | None
    fault: str | None


class _Reader:
    """Goes through the lines of one file, a receipt at a time."""

    def __init__(self, patient_key: str, masters: Masters, parts: Parts) -> None:
        self.by_insurance = patient_key == "insurance"
        self.masters = masters
        self.parts = parts
        self.facility = ""
        self.lines: list[list[str]] = []
        self.receipt: _Receipt | None = None
        self.receipts = 0
        self.has_totals = False
        self.coded: dict[str, Callable[[list[str]], None]] = {
            "BU": self._stay,
            "SB": self._grouped_disease,
            "SY": self._disease,
            "SI": self._act,
            "IY": self._act,
            "TO": self._material,
            "CD": self._bundled,
        }

    def take(self, fields: list[str], place: str) -> None:
        """One line. Raises BadInput, naming the place, where the order of records makes no sense."""
        record = fields[0] if fields[0].isalnum() and len(fields[0]) == 2 else "?"
        self.parts.lines[record] += 1
        if record == "IR":
            self._end_receipt()
            self.facility = fields[2] + fields[3] + fields[4]
            self._silent(record, "facility")
        elif record == "RE":
            if not self.facility:
                raise BadInput(f"{place}: a receipt (RE) before any facility (IR)")
            self._end_receipt()
            self.lines.append(fields)
        elif record == "GO":
            self._end_receipt()
            self._totals(fields)
        elif record in self.coded or record == "HO":
            if not self.lines:
                raise BadInput(f"{place}: {record} before any receipt (RE)")
            self.lines.append(fields)
        else:
            self._silent(record, NOT_READ.get(record, "unknown record"))
            if record not in NOT_READ:
                self.parts.warnings["unknown record"] += 1

    def end(self) -> None:
        self._end_receipt()
        if not self.has_totals:
            self.parts.warnings["file without totals"] += 1

    def _silent(self, record: str, reason: str) -> None:
        self.parts.silent(record, reason)

    def _end_receipt(self) -> None:
        """Read a receipt when all its lines are there: who the patient is may stand after the first."""
        if not self.lines:
            return
        header, *lines = self.lines
        self.receipts += 1
        self._begin(header, [fields for fields in lines if fields[0] == "HO"])
        for fields in lines:
            if fields[0] == "HO":
                self._silent("HO", "insurance")
            else:
                self.coded[fields[0]](fields)
        self.lines.clear()

    def _begin(self, fields: list[str], insurance: list[list[str]]) -> None:
        """RE: 3 kind, 4 month, 6 sex, 7 birth, 9 admission, 14 chart number."""
        month, birth = month_of(fields[3]), day_of(fields[6])
        sex = SEX_PREFIX + SEXES.get(fields[5], "U")
        if self.by_insurance:
            # HO: 2 insurer, 3 symbol, 4 number, which a family shares.
            numbers = ["/".join(each[1:4]) for each in insurance if each[2] + each[3]]
            patient = f"{numbers[0]}/{fields[6]}/{sex}" if numbers else None
        else:
            patient = f"{self.facility}/{fields[13].strip()}" if fields[13].strip() else None
        setting = "stay" if fields[2][:1] == "4" or fields[2][3:4] in tuple("13579") else "outpatient"
        self.receipt = _Receipt(
            patient=patient,
            hospital=self.facility,
            visit=f"{self.facility}/{patient or self.receipts}/{fields[3]}/{setting}",
            month=month,
            known=last_day(month) if month else None,
            fault=None if month else "unreadable date",
        )
        fault = None if birth else "unreadable date"
        for code in (BIRTH, sex):
            self.parts.add_fact((patient, birth, code, None, None, birth, False, "RE", fault))
        if fields[8] not in NO_DATE:
            self._dated(ADMISSION, fields[8], "RE")

    @property
    def _current(self) -> _Receipt:
        assert self.receipt is not None
        return self.receipt

    def _add(
        self,
        code: str | None,
        day: dt.date | None,
        origin: str,
        suspected: bool = False,
        fault: str | None = None,
    ) -> None:
        of = self._current
        fault = fault or of.fault
        self.parts.add((of.patient, day, code, of.hospital, of.visit, of.known, suspected, origin, fault))

    def _dated(self, code: str | None, text: str, origin: str) -> None:
        day = day_of(text)
        self._add(code, day, origin, fault=None if day else "unreadable date")

    def _explained(self, code: str) -> str:
        return self.masters.explained(code, self.parts.warnings)

    def _death(self, day: dt.date | None, origin: str) -> None:
        of = self._current
        if day is not None:
            known = max(day, of.known or day)
            self.parts.add_fact((of.patient, day, DEATH, None, None, known, False, origin, of.fault))

    def _stay(self, fields: list[str]) -> None:
        """BU: 3 admission (as in RE), 4 discharge, 5 outcome."""
        if fields[3] in NO_DATE:
            self._silent("BU", "stay goes on")
            return
        self._dated(DISCHARGE, fields[3], "BU")
        if fields[4] in DIED_IN_HOSPITAL:
            self._death(day_of(fields[3]), "BU")

    def _disease(self, fields: list[str]) -> None:
        """SY: 2 disease, 4 outcome, 5 modifiers. Dated to the claim's month, not to when treatment began."""
        of = self._current
        if fields[3] == DIED:
            self._death(of.known, "SY")
        if fields[1] == FREE_TEXT_DISEASE:
            self._silent("SY", "free text")
            return
        code = self._explained(DISEASE + fields[1]) if fields[1] else None
        self._add(code, of.month, "SY", is_suspected(fields[4]))

    def _grouped_disease(self, fields: list[str]) -> None:
        """SB: 2 disease, 3 modifiers, 5 ICD-10."""
        if fields[1] == FREE_TEXT_DISEASE and not fields[4]:
            self._silent("SB", "free text")
            return
        code = f"ICD10//{fields[4]}" if fields[4] else self._explained(DISEASE + fields[1])
        self._add(code, self._current.month, "SB", is_suspected(fields[2]))

    def _act(self, fields: list[str]) -> None:
        """SI, IY: 4 code, 14 to 44 the days of the month."""
        self._on_days(fields[0], fields[3], fields[FIRST_DAY_OF_ACTS : FIRST_DAY_OF_ACTS + DAYS])

    def _material(self, fields: list[str]) -> None:
        """TO: 4 code, 18 to 48 the days of the month."""
        self._on_days("TO", fields[3], fields[FIRST_DAY_OF_MATERIALS : FIRST_DAY_OF_MATERIALS + DAYS])

    def _bundled(self, fields: list[str]) -> None:
        """CD: 2 day, 6 code."""
        if (code := self._code("CD", fields[5])) is not None:
            self._dated(code or None, fields[1], "CD")

    def _on_days(self, record: str, code_field: str, days: list[str]) -> None:
        """An event per day with a number above zero; without any day, one in the month."""
        code = self._code(record, code_field)
        if code is None:
            return
        month = self._current.month
        told = [(number, value.strip()) for number, value in enumerate(days, 1) if value.strip()]
        if not told:
            self._add(code or None, month, record)
        made = 0
        for number, value in told:
            if not (value.isascii() and value.isdigit()):
                self._add(code or None, None, record, fault="unreadable value")
            elif int(value) > 0:
                self._dated(code or None, f"{month:%Y%m}{number:02d}" if month else "", record)
            else:
                continue
            made += 1
        if told and not made:
            self._silent(record, "no day")

    def _code(self, record: str, code: str) -> str | None:
        """The code with its system, "" if the line has none; None where there is nothing to code."""
        if code.startswith("8"):
            self._silent(record, "comment")
            return None
        if code.startswith("7"):
            return MATERIAL + code
        return self._explained(RECEIPT + code) if code else ""

    def _totals(self, fields: list[str]) -> None:
        """GO: 2 receipts in the file."""
        self._silent("GO", "totals")
        self.has_totals = True
        if fields[1] != str(self.receipts):
            self.parts.warnings["totals differ"] += 1
