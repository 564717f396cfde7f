"""DPC survey files: what was done and given (EFn, EFg, Dn) and Form 1 of stays (FF1).

Lines of fields between tabs, in CP932, with a header or without. Field numbers in comments count from 1.
Diseases of stays are in Form 1, those of outpatients among the EF rows. Other files are counted,
not read.
Source: 厚生労働省, DPC導入の影響評価に係る調査 実施説明資料 (layouts of EF, D and 様式1).
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from claimscale.codes.systems import BIRTH, DEATH, SEX_PREFIX
from claimscale.config.sources import DpcSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.japan import masters as master_files
from claimscale.sources.japan.eras import NO_DATE, day_of, last_day, month_of
from claimscale.sources.japan.masters import DISEASE, RECEIPT, Masters, is_suspected
from claimscale.sources.japan.receipt_fields import code_of
from claimscale.sources.japan.receipt_records import FREE_TEXT_DISEASE
from claimscale.sources.japan.text_files import blocks_of, lines_of
from claimscale.sources.raw import RawEvents
from claimscale.sources.row_writer import Parts

KIND = re.compile(r"(EFn|EFg|Dn|FF1|FF4|Hn)_", re.IGNORECASE)
NAME = re.compile(KIND.pattern + r"\d+_(\d{4})(\D.*)?", re.IGNORECASE)
NOT_READ = ("FF4", "HN")
WIDTH = 32
HEADER_OF_ACT = "000"
"""行為明細番号 of the line that opens an act: what was done follows in lines of its own."""
OUTPATIENT_DISEASE = "SY"
ADMISSION, DISCHARGE = "VISIT//ADMISSION", "VISIT//DISCHARGE"
UNREADABLE_DATE = "unreadable date"
SEXES = {"1": "M", "2": "F"}
DIED = ("6", "7")
DIAGNOSES = ("A006010", "A006020", "A006030", "A006031", "A006040", "A006050")
"""The main one, what led to the stay, took most resources, second most; with the stay, after it began."""


@dataclass(frozen=True)
class Layout:
    """Where an act's line keeps the code and the day, counted from 0."""

    code: int
    day: int


LAYOUTS = {"EFN": Layout(8, 23), "EFG": Layout(8, 23), "DN": Layout(7, 17)}


def files_of(source: DpcSource) -> dict[str, list[Path]]:
    """All survey files below the folder, and the masters. Raises BadInput if there are none."""
    folder = Path(source.path)
    if not folder.is_dir():
        raise BadInput(f"source.path: {folder} is not a folder")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and KIND.match(file.name))
    if not files:
        raise BadInput(f"source.path: {folder} holds no DPC files (EFn_*, EFg_*, Dn_*, FF1_*)")
    return {"survey": files, "masters": master_files.files_of(source.masters)}


def read(source: DpcSource, engine: Engine, scratch: Path) -> RawEvents:
    """All files as raw events. Raises BadInput for a file that is no text in CP932, with the line."""
    masters = master_files.load(source.masters)
    parts = Parts(scratch / "survey")
    for file in files_of(source)["survey"]:
        read_file(file, masters, parts)
    return parts.finish(engine)


def read_file(file: Path, masters: Masters, parts: Parts) -> None:
    """One file's rows, added to `parts`. Raises BadInput for a name that is not of the survey."""
    named = NAME.fullmatch(file.name)
    # The survey writes years in two digits of the western calendar, and began in 2003.
    month = month_of("20" + named[2]) if named else None
    if named is None or month is None:
        raise BadInput(f"{file}: is not named like a DPC file (EFn_<facility>_<YYMM>)")
    reader = _Reader(named[1].upper(), month, masters, parts)
    for first, lines in lines_of(str(file), blocks_of(file)):
        for number, line in enumerate(lines, first):
            if line.strip():
                reader.line(f"{file}, line {number}", line, number == 1)
    parts.end_file()


class _Reader:
    """Goes through the lines of one file of a kind and month."""

    def __init__(self, kind: str, month: dt.date, masters: Masters, parts: Parts) -> None:
        self.kind = kind
        self.month = month
        self.masters = masters
        self.parts = parts

    def line(self, place: str, line: str, is_first: bool) -> None:
        """Raises BadInput for a line that has no fields."""
        fields = [field.strip() for field in line.split("\t")]
        self.parts.lines[self.kind] += 1
        if self.kind in NOT_READ:
            self.parts.silent(self.kind, "file not read")
        elif not fields[0][:1].isdigit() and is_first:
            self.parts.silent(self.kind, "column names")
        elif len(fields) < 2:
            raise BadInput(f"{place}: has no fields between tabs")
        else:
            self._take(fields + [""] * (WIDTH - len(fields)))

    def _take(self, fields: list[str]) -> None:
        """1 facility, 2 the patient's number there."""
        self.hospital = fields[0]
        self.patient = f"{fields[0]}/{fields[1]}" if fields[1] else None
        if self.kind == "FF1":
            self._form(fields)
        else:
            self._act(fields)

    def _known(self, day: dt.date | None) -> dt.date:
        """When an event is known: at the end of the file's month."""
        return max(last_day(self.month), day or self.month)

    def _row(
        self, code: str | None, day: dt.date | None, visit: str, fault: str | None, suspected: bool = False
    ):
        return (
            self.patient,
            day,
            code,
            self.hospital,
            f"{self.patient}/{visit}",
            self._known(day),
            suspected,
            self.kind,
            fault,
        )

    def _fact(self, code: str, text: str, visit: str) -> None:
        """An event that many lines tell: an end of a stay."""
        if text not in NO_DATE:
            day = day_of(text)
            self.parts.add_fact(self._row(code, day, visit, None if day else UNREADABLE_DATE))

    def _person(self, code: str, birth: str) -> None:
        day = day_of(birth)
        fault = None if day else UNREADABLE_DATE
        self.parts.add_fact((self.patient, day, code, None, None, day, False, self.kind, fault))

    def _act(self, fields: list[str]) -> None:
        """EF, D: 3 discharge (EFg: birth), 4 admission (EFg: visit day), 5 kind, 7 number in the act.

        DPC hospitals leave both empty (00000000) for outpatients: each day is a visit then.
        """
        layout = LAYOUTS[self.kind]
        visit = fields[layout.day] if fields[3] in NO_DATE else fields[3]
        if self.kind != "EFG":
            self._fact(ADMISSION, fields[3], visit)
            self._fact(DISCHARGE, fields[2], visit)
        elif fields[2] not in NO_DATE:
            self._person(BIRTH, fields[2])
        if fields[4].upper() == OUTPATIENT_DISEASE:
            self._outpatient_disease(fields[8] or fields[7], fields[9], visit)
        elif fields[6] == HEADER_OF_ACT and self.kind != "DN":
            self.parts.silent(self.kind, "header of an act")
        else:
            self._done(fields[layout.code], day_of(fields[layout.day]), visit)

    def _outpatient_disease(self, code: str, modifiers: str, visit: str) -> None:
        """Where the modifiers stand no public layout says; ours stand in 10."""
        if code == FREE_TEXT_DISEASE:
            self.parts.silent(self.kind, "free text")
            return
        suspected = is_suspected(modifiers, self.masters.suspected)
        self.parts.add(self._row(self._disease(code), self.month, visit, None, suspected))

    def _done(self, text: str, day: dt.date | None, visit: str) -> None:
        code, reason = code_of(text)
        if reason:
            self.parts.silent(self.kind, reason)
            return
        if code is None and text:
            self.parts.warnings["unreadable code"] += 1
        coded = (
            self.masters.explained(code, self.parts.warnings) if code and code.startswith(RECEIPT) else code
        )
        self.parts.add(self._row(coded, day, visit, None if day else UNREADABLE_DATE))

    def _disease(self, code: str) -> str | None:
        if re.fullmatch(r"\d{7}", code, re.ASCII):
            return self.masters.explained(DISEASE + code, self.parts.warnings)
        self.parts.warnings["unreadable code"] += 1 if code else 0
        return None

    def _form(self, fields: list[str]) -> None:
        """Form 1: 3 admission, 6 item, 9 to 17 its values."""
        visit, item, values = fields[2], fields[5], fields[8:17]
        if item == "A000010":
            self._person(BIRTH, values[0])
            self._person(SEX_PREFIX + SEXES.get(values[1], "U"), values[0])
        elif item == "A000020":
            self._fact(ADMISSION, values[0], visit)
        elif item == "A000030":
            self._fact(DISCHARGE, values[0], visit)
            if values[2] in DIED:
                self._death(values[0])
            elif values[0] in NO_DATE:
                self.parts.silent("FF1", "stay goes on")
        elif item in DIAGNOSES:
            self._diagnosis(values, visit)
        else:
            self.parts.silent("FF1", "item not read")

    def _death(self, text: str) -> None:
        day = day_of(text)
        fault = None if day else UNREADABLE_DATE
        self.parts.add_fact((self.patient, day, DEATH, None, None, self._known(day), False, "FF1", fault))

    def _diagnosis(self, values: list[str], visit: str) -> None:
        """2 ICD-10, 4 disease, 5 to 8 modifiers. Dated to the month of admission; roles do not repeat it."""
        if values[3] == FREE_TEXT_DISEASE and not values[1]:
            self.parts.silent("FF1", "free text")
            return
        admitted = day_of(visit)
        month = admitted.replace(day=1) if admitted else None
        code = f"ICD10//{values[1]}" if values[1] else self._disease(values[3])
        suspected = any(is_suspected(text, self.masters.suspected) for text in values[4:8])
        self.parts.add_fact(self._row(code, month, visit, None if month else UNREADABLE_DATE, suspected))
