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

from claimscale.codes import BIRTH, DEATH, SEX_PREFIX
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import masters as master_files
from claimscale.sources.japanese_dates import NO_DATE, day_of, last_day, month_of
from claimscale.sources.masters import DISEASE, RECEIPT, SUSPECTED, Masters
from claimscale.sources.parts import Parts
from claimscale.sources.raw import RawEvents
from claimscale.sources.text import lines_of
from claimscale.study import DpcSource

NAME = re.compile(r"(EFn|EFg|Dn|FF1|FF4|Hn)_(\d+)_(\d{4})", re.IGNORECASE)
NOT_READ = ("FF4", "HN")
WIDTH = 32
HEADER_OF_ACT = "000"
"""行為明細番号 of the line that opens an act: what was done follows in lines of its own."""
OUTPATIENT_DISEASE = "SY"
MATERIAL = "MATERIAL//"
ADMISSION, DISCHARGE = "VISIT//ADMISSION", "VISIT//DISCHARGE"
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
    files = sorted(file for file in folder.rglob("*") if file.is_file() and NAME.match(file.name))
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
    named = NAME.match(file.name)
    if named is None:
        raise BadInput(f"{file}: is not named like a DPC file (EFn_<facility>_<YYMM>)")
    kind = named[1].upper()
    # The survey writes years in two digits of the western calendar, and began in 2003.
    reader = _Reader(kind, month_of("20" + named[3]), masters, parts)
    for number, line in lines_of(file):
        fields = [field.strip() for field in line.split("\t")]
        parts.lines[kind] += 1
        if kind in NOT_READ:
            parts.silent(kind, "file not read")
        elif not fields[0][:1].isdigit() and number == 1:
            parts.silent(kind, "column names")
        elif len(fields) < 2:
            raise BadInput(f"{file}, line {number}: has no fields between tabs")
        else:
            reader.take(fields + [""] * (WIDTH - len(fields)))


class _Reader:
    """Goes through the lines of one file of a kind and month."""

    def __init__(self, kind: str, month: dt.date | None, masters: Masters, parts: Parts) -> None:
        self.kind = kind
        self.month = month
        self.masters = masters
        self.parts = parts

    def take(self, fields: list[str]) -> None:
        """1 facility, 2 the patient's number there."""
        self.hospital = fields[0]
        self.patient = f"{fields[0]}/{fields[1]}" if fields[1] else None
        if self.kind == "FF1":
            self._form(fields)
        else:
            self._act(fields)

    def _known(self, day: dt.date | None) -> dt.date | None:
        """When an event is known: at the end of the file's month."""
        known = self.month or day
        return None if known is None else max(last_day(known), day or known)

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
            self.parts.add_fact(self._row(code, day, visit, None if day else "unreadable date"))

    def _person(self, code: str, birth: str) -> None:
        day = day_of(birth)
        fault = None if day else "unreadable date"
        self.parts.add_fact((self.patient, day, code, None, None, day, False, self.kind, fault))

    def _act(self, fields: list[str]) -> None:
        """EF, D: 3 discharge (EFg: birth), 4 admission (EFg: visit day), 5 kind, 7 number in the act."""
        layout = LAYOUTS[self.kind]
        visit = fields[3]
        if self.kind == "EFG":
            self._person(BIRTH, fields[2])
        else:
            self._fact(ADMISSION, fields[3], visit)
            self._fact(DISCHARGE, fields[2], visit)
        if fields[4].upper() == OUTPATIENT_DISEASE:
            month = self.month or month_of(fields[3][:6])
            code = fields[8] or fields[7]
            # Where the modifier stands no public layout says; ours stands in 10.
            coded = self.masters.explained(DISEASE + code, self.parts.warnings) if code else None
            self.parts.add(self._row(coded, month, visit, None, fields[9] == SUSPECTED))
        elif fields[6] == HEADER_OF_ACT and self.kind != "DN":
            self.parts.silent(self.kind, "header of an act")
        elif fields[layout.code].startswith("8"):
            self.parts.silent(self.kind, "comment")
        else:
            day = day_of(fields[layout.day])
            fault = None if day else "unreadable date"
            self.parts.add(self._row(self._coded(fields[layout.code]), day, visit, fault))

    def _coded(self, code: str) -> str | None:
        if not code:
            return None
        if code.startswith("7"):
            return MATERIAL + code
        return self.masters.explained(RECEIPT + code, self.parts.warnings)

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
        elif item in DIAGNOSES:
            self._diagnosis(values, visit)
        else:
            self.parts.silent("FF1", "item not read")

    def _death(self, text: str) -> None:
        day = day_of(text)
        if day is not None:
            known = self._known(day)
            self.parts.add_fact((self.patient, day, DEATH, None, None, known, False, "FF1", None))

    def _diagnosis(self, values: list[str], visit: str) -> None:
        """2 ICD-10, 4 disease, 5 to 8 modifiers. Dated to the month of admission; roles do not repeat it."""
        admitted = day_of(visit)
        month = admitted.replace(day=1) if admitted else None
        if values[1]:
            code: str | None = f"ICD10//{values[1]}"
        else:
            code = self.masters.explained(DISEASE + values[3], self.parts.warnings) if values[3] else None
        fault = None if month else "unreadable date"
        self.parts.add_fact(self._row(code, month, visit, fault, SUSPECTED in values[4:8]))
