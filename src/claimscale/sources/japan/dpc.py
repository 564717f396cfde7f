"""DPC survey files: what was done and given (EFn, EFg, Dn) and Form 1 of stays (FF1).

Lines of fields separated by tabs, in CP932, with or without a header. Field numbers in comments count from 1.
Diseases of stays are in Form 1, those of outpatients in EF rows. Other files are counted only.
Source: 厚生労働省, DPC導入の影響評価に係る調査 実施説明資料 (layouts of EF, D and 様式1).
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from claimscale.codes.systems import ADMISSION, BIRTH, DEATH, DISCHARGE, SEX_PREFIX
from claimscale.config.sources import DpcSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.japan import masters as master_files
from claimscale.sources.japan.eras import NO_DATE, day_of, last_day, month_of
from claimscale.sources.japan.masters import DISEASE, RECEIPT, MasterCodes, is_suspected
from claimscale.sources.japan.receipt_clinical import FREE_TEXT_DISEASE, UNREADABLE_DATE
from claimscale.sources.japan.receipt_fields import SEXES, code_of
from claimscale.sources.japan.text_files import blocks_of, lines_of
from claimscale.sources.raw import RawEvents
from claimscale.sources.row_writer import RawRow, RowWriter
from claimscale.sources.table_files import folder_of

KIND = re.compile(r"(EFn|EFg|Dn|FF1|FF4|Hn)_", re.IGNORECASE)
NAME = re.compile(KIND.pattern + r"\d+_(\d{4})(\D.*)?", re.IGNORECASE)
NOT_READ = ("FF4", "HN")
WIDTH = 32
HEADER_OF_ACT = "000"
"""行為明細番号 of the line that opens an act; the services follow in lines of their own."""
OUTPATIENT_DISEASE = "SY"
DIED = ("6", "7")
DIAGNOSES = ("A006010", "A006020", "A006030", "A006031", "A006040", "A006050")
"""Main diagnosis, cause of admission, most and second most resources, comorbidity, complication."""


@dataclass(frozen=True)
class ActLayout:
    """The fields of the code and the day in the line of an act, counted from 0."""

    code: int
    day: int


LAYOUTS = {"EFN": ActLayout(8, 23), "EFG": ActLayout(8, 23), "DN": ActLayout(7, 17)}


def files_of(source: DpcSource) -> dict[str, list[Path]]:
    """All survey files below the folder, and the masters. Raises BadInput if there are none."""
    folder = folder_of(source.path)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and KIND.match(file.name))
    if not files:
        raise BadInput(f"source.path: {folder} holds no DPC files (EFn_*, EFg_*, Dn_*, FF1_*)")
    return {"survey": files, "masters": master_files.files_of(source.masters)}


def read(source: DpcSource, engine: Engine, scratch: Path) -> RawEvents:
    """All files as raw events. Raises BadInput for a file that is not CP932 text, with the line."""
    masters = master_files.load(source.masters)
    writer = RowWriter(scratch / "survey")
    for file in files_of(source)["survey"]:
        read_file(file, masters, writer)
    return writer.finish(engine)


def read_file(file: Path, masters: MasterCodes, writer: RowWriter) -> None:
    """Add the rows of one file to `writer`. Raises BadInput for a name that is not of the survey."""
    named = NAME.fullmatch(file.name)
    # The survey began in 2003 and writes western years with two digits.
    month = month_of("20" + named[2]) if named else None
    if named is None or month is None:
        raise BadInput(f"{file}: is not named like a DPC file (EFn_<facility>_<YYMM>)")
    reader = SurveyReader(named[1].upper(), month, masters, writer)
    for first, lines in lines_of(str(file), blocks_of(file)):
        for number, line in enumerate(lines, first):
            if line.strip():
                reader.read_line(f"{file}, line {number}", line, number == 1)
    writer.end_file()


class SurveyReader:
    """Reads the lines of one file of a kind and month."""

    def __init__(self, kind: str, month: dt.date, masters: MasterCodes, writer: RowWriter) -> None:
        self.kind = kind
        self.month = month
        self.masters = masters
        self.writer = writer
        self.counts = writer.counts

    def read_line(self, place: str, line: str, is_first: bool) -> None:
        """1 facility, 2 the patient's number there. Raises BadInput for a line without fields."""
        fields = [field.strip() for field in line.split("\t")]
        self.counts.rows[self.kind] += 1
        if self.kind in NOT_READ:
            self.counts.no_event(self.kind, "file not read")
        elif not fields[0][:1].isdigit() and is_first:
            self.counts.no_event(self.kind, "column names")
        elif len(fields) < 2:
            raise BadInput(f"{place}: has no fields between tabs")
        else:
            fields += [""] * (WIDTH - len(fields))
            self.hospital = fields[0]
            self.patient = f"{fields[0]}/{fields[1]}" if fields[1] else None
            (self._form if self.kind == "FF1" else self._act)(fields)

    def _available(self, day: dt.date | None) -> dt.date:
        """An event is available at the end of the file's month."""
        return max(last_day(self.month), day or self.month)

    def _row(self, code: str | None, day: dt.date | None, visit: str, suspected: bool = False) -> RawRow:
        issue = None if day else UNREADABLE_DATE
        where = (self.hospital, f"{self.patient}/{visit}", self._available(day))
        return RawRow(self.patient, day, code, *where, suspected, self.kind, issue)

    def _stay_end(self, code: str, text: str, visit: str) -> None:
        if text not in NO_DATE:
            self.writer.add_fact(self._row(code, day_of(text), visit))

    def _person_fact(self, code: str, text: str, *, at_once: bool = True) -> None:
        """Birth, sex or death; `at_once`: available on its day."""
        day = day_of(text)
        available = day if at_once else self._available(day)
        issue = None if day else UNREADABLE_DATE
        self.writer.add_fact(RawRow(self.patient, day, code, None, None, available, False, self.kind, issue))

    def _act(self, fields: list[str]) -> None:
        """EF, D: 3 discharge (EFg: birth), 4 admission (EFg: visit day), 5 kind, 7 number in the act.

        DPC hospitals write 00000000 in both for outpatients: each day is then a visit.
        """
        layout = LAYOUTS[self.kind]
        visit = fields[layout.day] if fields[3] in NO_DATE else fields[3]
        if self.kind != "EFG":
            self._stay_end(ADMISSION, fields[3], visit)
            self._stay_end(DISCHARGE, fields[2], visit)
        elif fields[2] not in NO_DATE:
            self._person_fact(BIRTH, fields[2])
        if fields[4].upper() == OUTPATIENT_DISEASE:
            self._outpatient_disease(fields[8] or fields[7], fields[9], visit)
        elif fields[6] == HEADER_OF_ACT and self.kind != "DN":
            self.counts.no_event(self.kind, "header of an act")
        else:
            self._service(fields[layout.code], day_of(fields[layout.day]), visit)

    def _outpatient_disease(self, code: str, modifiers: str, visit: str) -> None:
        """No public layout gives the field of the modifiers; they are read from field 10."""
        if code == FREE_TEXT_DISEASE:
            self.counts.no_event(self.kind, "free text")
            return
        suspected = is_suspected(modifiers, self.masters.suspected)
        self.writer.add(self._row(self._disease(code), self.month, visit, suspected))

    def _service(self, text: str, day: dt.date | None, visit: str) -> None:
        code, reason = code_of(text)
        if reason:
            self.counts.no_event(self.kind, reason)
            return
        if code is None and text:
            self.counts.warnings["unreadable code"] += 1
        if code and code.startswith(RECEIPT):
            code = self.masters.translate(code, self.counts.warnings)
        self.writer.add(self._row(code, day, visit))

    def _disease(self, code: str) -> str | None:
        if re.fullmatch(r"\d{7}", code, re.ASCII):
            return self.masters.translate(DISEASE + code, self.counts.warnings)
        self.counts.warnings["unreadable code"] += 1 if code else 0
        return None

    def _form(self, fields: list[str]) -> None:
        """Form 1: 3 admission, 6 item, 9 to 17 its values."""
        visit, item, values = fields[2], fields[5], fields[8:17]
        if item == "A000010":
            self._person_fact(BIRTH, values[0])
            self._person_fact(SEX_PREFIX + SEXES.get(values[1], "U"), values[0])
        elif item == "A000020":
            self._stay_end(ADMISSION, values[0], visit)
        elif item == "A000030":
            self._stay_end(DISCHARGE, values[0], visit)
            if values[2] in DIED:
                self._person_fact(DEATH, values[0], at_once=False)
            elif values[0] in NO_DATE:
                self.counts.no_event("FF1", "stay not ended")
        elif item in DIAGNOSES:
            self._diagnosis(values, visit)
        else:
            self.counts.no_event("FF1", "item not read")

    def _diagnosis(self, values: list[str], visit: str) -> None:
        """2 ICD-10, 4 disease, 5 to 8 modifiers. Dated to the month of admission; roles do not repeat it."""
        if values[3] == FREE_TEXT_DISEASE and not values[1]:
            self.counts.no_event("FF1", "free text")
            return
        admitted = day_of(visit)
        month = admitted.replace(day=1) if admitted else None
        code = f"ICD10//{values[1]}" if values[1] else self._disease(values[3])
        suspected = any(is_suspected(text, self.masters.suspected) for text in values[4:8])
        self.writer.add_fact(self._row(code, month, visit, suspected))
