"""The records of UKE files, one after the other, as rows of what they tell.

Fields are read by position (numbers in comments count from 1), short lines are padded, longer ones tolerated,
records that are not known counted. Days are whole days since 1970-01-01, None where there is none.
Source: 社会保険診療報酬支払基金, レセプト電算処理システム 記録条件仕様 (医科, DPC).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from claimscale.codes.systems import DEATH, SEPARATOR, SEX_PREFIX
from claimscale.errors import BadInput
from claimscale.sources.japan.eras import NO_DATE
from claimscale.sources.japan.masters import DISEASE, is_suspected
from claimscale.sources.japan.receipt_fields import (
    code_of,
    days_until,
    ends_of_month,
    half_width,
    quantity_of,
)
from claimscale.sources.japan.text_files import lines_of

ADMISSION, DISCHARGE = "VISIT//ADMISSION", "VISIT//DISCHARGE"
FREE_TEXT_DISEASE = "0000999"
MEDICAL, OTHER_FEE_TABLES = "1", ("3", "4", "6")
"""点数表: 医科; 歯科, 調剤, 訪問看護."""
SEXES = {"1": "M", "2": "F"}
DIED = "3"
DIED_IN_HOSPITAL = ("6", "7")
"""転帰 of a disease, and of a DPC stay (of the main disease, of another)."""
FIRST_DAY = {"SI": 13, "IY": 13, "TO": 17}
"""Where the 31 columns of days begin, from 0."""
DAYS = 31
OTHER = "other"
NOT_MEDICAL, UNKNOWN_RECORD = "not a medical receipt", "unknown record"
"""The origin of records that are not known: their names may be anything."""
UNREADABLE_DATE, UNREADABLE_VALUE = "unreadable date", "unreadable value"

SILENT = {
    "HO": "insurance",
    "KO": "insurance",
    "SN": "insurance",
    "CO": "comment",
    "SJ": "free text",
    "KK": "grouping",
    "SK": "grouping",
    "GA": "leave",
    "HH": "rates",
    "GT": "rates",
}
"""Records of a receipt that make no event. What SK lists is also billed, in SI or CD."""

Event = tuple[int, str, str | None, int | None, bool, float | None, str | None]
"""Receipt, origin, code, day, suspected, numeric value, fault."""
Receipt = tuple[int, str | None, str, str, int | None, int | None, int | None, str, bool, int | None]
"""Receipt, patient, hospital, kind, first and last day of the month, birth, sex, whether an admission is
told, admission."""


@dataclass
class Told:
    """What files tell: events, receipts, and an account of their lines. Each line is in `lines` once."""

    events: list[Event] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    lines: Counter[str] = field(default_factory=Counter)
    without_event: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    warnings: Counter[str] = field(default_factory=Counter)


def read(place: str, blocks: Iterable[bytes], number: int, reader: Reader) -> None:
    """The records of one file, given as bytes; `number` is its place among the files, for receipts' numbers.

    Raises BadInput, naming the place and the line, for a file that is not UKE text, in which records stand
    where none can, or which ends before its totals.
    """
    reader.begin_file(place, number)
    for first, lines in lines_of(place, blocks):
        reader.take(first, lines)
    reader.end_file()


class Reader:
    """Goes through files line by line; what they tell is added to `told`.

    `by_insurance`: a person is known by insurance number, birth and sex, not by hospital and chart number.
    """

    def __init__(self, by_insurance: bool, suspected: frozenset[str], told: Told) -> None:
        self.by_insurance = by_insurance
        self.suspected = suspected
        self.told = told
        inside: dict[str, Callable[[list[str]], None]] = dict.fromkeys(SILENT, self._silent)
        inside |= {"HO": self._insurance, "KO": self._public_payer, "SN": self._branch}
        inside |= {"BU": self._stay, "SB": self._stay_disease, "SY": self._disease, "CD": self._bundled}
        inside |= dict.fromkeys(FIRST_DAY, self._service)
        always = {"IR": self._facility, "UK": self._silent}
        misplaced = dict.fromkeys([*inside, "RE", "GO"], self._misplaced)
        self._before = misplaced | always
        self._between = misplaced | always | {"RE": self._begin_receipt, "GO": self._totals}
        self._inside = inside | always | {"RE": self._begin_receipt, "GO": self._totals}
        self._foreign = dict.fromkeys(misplaced, self._of_other_fee_table) | always

    def begin_file(self, place: str, number: int) -> None:
        self.place = place
        self.line = 0
        self.handlers = self._before
        self.hospital = ""
        self.is_open = False
        self.has_ended = False
        self.receipt = number << 32
        self.receipts_since_totals = 0
        self.points_since_totals = 0.0

    def take(self, first: int, lines: list[str]) -> None:
        """Lines of the file, the first of which has that number."""
        known = self.told.lines
        for self.line, line in enumerate(lines, first):
            fields = line.split(",")
            handler = self.handlers.get(fields[0])
            if handler is None:
                self._unknown(line)
            else:
                known[fields[0]] += 1
                handler(fields)

    def end_file(self) -> None:
        if not self.line:
            raise BadInput(f"{self.place}: is empty")
        if not self.hospital:
            raise BadInput(f"{self.place}, line {self.line}: no facility (IR) up to the end of the file")
        if not self.has_ended and self.handlers is not self._foreign:
            raise BadInput(f"{self.place}, line {self.line}: it is cut off, as it ends before GO")

    def _without(self, origin: str, reason: str) -> None:
        self.told.without_event[origin][reason] += 1

    def _silent(self, fields: list[str]) -> None:
        self._without(fields[0], SILENT.get(fields[0], "administration"))

    def _of_other_fee_table(self, fields: list[str]) -> None:
        self._without(fields[0], NOT_MEDICAL)

    def _unknown(self, line: str) -> None:
        self.told.lines[OTHER] += 1
        if not line.strip():
            self._without(OTHER, "blank line")
        elif self.handlers is self._foreign:  # records of other fee tables, which medical claims do not have
            self._without(OTHER, NOT_MEDICAL)
        else:
            self._without(OTHER, UNKNOWN_RECORD)
            self.told.warnings[UNKNOWN_RECORD] += 1

    def _misplaced(self, fields: list[str]) -> None:
        needed = "facility (IR)" if self.handlers is self._before else "receipt (RE)"
        raise BadInput(f"{self.place}, line {self.line}: a record {fields[0]} before any {needed}")

    def _facility(self, fields: list[str]) -> None:
        """IR: 3 prefecture, 4 fee table, 5 institution."""
        self._end_receipt()
        self._without("IR", "facility")
        prefecture, fee_table, institution = ([field.strip() for field in fields] + [""] * 5)[2:5]
        hospital = prefecture + fee_table + institution
        if not re.fullmatch(r"\d{2},\d,\d{7}", f"{prefecture},{fee_table},{institution}", re.ASCII):
            raise BadInput(f"{self.place}, line {self.line}: IR names no facility (2, 1 and 7 digits)")
        if fee_table not in (MEDICAL, *OTHER_FEE_TABLES):
            raise BadInput(f"{self.place}, line {self.line}: IR names no fee table (field 4)")
        self.hospital = hospital
        self.handlers = self._between if fee_table == MEDICAL else self._foreign
        self.has_ended = False
        self.receipts_since_totals, self.points_since_totals = 0, 0.0

    def _totals(self, fields: list[str]) -> None:
        """GO: 2 receipts, 3 points. Excerpts of files keep the totals of the whole."""
        self._end_receipt()
        self._without("GO", "totals")
        told = [quantity_of(text) for text in (*fields[1:3], "", "")[:2]]
        if told != [self.receipts_since_totals, self.points_since_totals]:
            self.told.warnings["totals differ"] += 1
        self.handlers = self._between
        self.has_ended = True
        self.receipts_since_totals, self.points_since_totals = 0, 0.0

    def _begin_receipt(self, fields: list[str]) -> None:
        """RE: 3 kind, 4 month, 6 sex, 7 birth, 9 admission, 14 chart number."""
        self._end_receipt()
        fields += [""] * (14 - len(fields))
        self.receipt += 1
        self.is_open, self.has_ended = True, False
        self.handlers = self._inside
        self.kind = fields[2].strip()
        self.first, self.last = ends_of_month(fields[3])
        self.sex = SEX_PREFIX + SEXES.get(fields[5].strip(), "U")
        self.birth = days_until(fields[6])
        self.is_stay = fields[8].strip() not in NO_DATE
        self.admission = days_until(fields[8]) if self.is_stay else None
        self.chart = fields[13].strip()
        self.insured: tuple[str, ...] = ()
        self.branch = ""
        self.points: float | None = None
        self.public_points: float | None = None
        self.has_died = False
        self.unit: list[tuple[str, str | None, str]] = []
        # What is known of a month only is dated to its first day, or to a birth in it.
        self.month_day = self.first
        if self.first is not None and self.last is not None and self.birth is not None:
            self.month_day = self.birth if self.first < self.birth <= self.last else self.first

    def _end_receipt(self) -> None:
        if not self.is_open:
            return
        self._close_unit([])
        self.is_open = False
        patient = f"{self.hospital}-{self.chart}" if self.chart else None
        if self.by_insurance:
            known = self.insured and self.birth is not None
            patient = "/".join([*self.insured, self.branch, str(self.birth), self.sex[-1]]) if known else None
        self.receipts_since_totals += 1
        points = self.points if self.points is not None else self.public_points
        self.points_since_totals += points or 0.0
        self.told.receipts.append(
            (
                *(self.receipt, patient, self.hospital, self.kind, self.first, self.last),
                *(self.birth, self.sex, self.is_stay, self.admission),
            )
        )

    def _insurance(self, fields: list[str]) -> None:
        """HO: 2 insurer, 3 symbol (some insurers have none), 4 number, 6 points."""
        self._silent(fields)
        fields += [""] * (6 - len(fields))
        insurer, symbol, number = (half_width(text) for text in fields[1:4])
        if insurer and number and not self.insured:
            self.insured = insurer, symbol, number
        if self.points is None:
            self.points = quantity_of(fields[5])

    def _public_payer(self, fields: list[str]) -> None:
        """KO: 6 points. They count where there is no insurance."""
        self._silent(fields)
        if self.public_points is None:
            self.public_points = quantity_of((fields + [""] * 6)[5])

    def _branch(self, fields: list[str]) -> None:
        """SN: 2 payer (1 is the insurance), 7 branch: the person among those who share a number."""
        self._silent(fields)
        fields += [""] * (7 - len(fields))
        if fields[1].strip() == "1":
            self.branch = half_width(fields[6])

    def _event(
        self,
        origin: str,
        code: str | None,
        day: int | None,
        suspected: bool = False,
        value: float | None = None,
        fault: str | None = None,
    ) -> None:
        if day is None and fault is None:
            fault = UNREADABLE_DATE
        self.told.events.append((self.receipt, origin, code, day, suspected, value, fault))

    def _stay(self, fields: list[str]) -> None:
        """BU: 3 admission, 4 discharge, 5 outcome."""
        fields += [""] * (5 - len(fields))
        self.has_died = fields[4].strip() in DIED_IN_HOSPITAL
        is_over = fields[3].strip() not in NO_DATE
        if not is_over and not self.has_died:
            self._without("BU", "stay goes on")
            return
        admitted = days_until(fields[2]) if fields[2].strip() not in NO_DATE else self.admission
        day = days_until(fields[3])
        fault = "end before start" if day is not None and admitted is not None and day < admitted else None
        if is_over:
            self._event("BU", DISCHARGE, day, fault=fault)
        if self.has_died:
            self._event("BU", DEATH, day, fault=fault)

    def _disease(self, fields: list[str]) -> None:
        """SY: 2 disease, 4 outcome, 5 modifiers."""
        fields += [""] * (5 - len(fields))
        # The discharge tells the day of a death, a disease's outcome only its month.
        died = fields[3].strip() == DIED and not self.has_died
        if died:
            self._event("SY", DEATH, self.last)
        if fields[1].strip() == FREE_TEXT_DISEASE:
            if not died:
                self._without("SY", "free text")
            return
        self._event("SY", self._disease_code(fields[1]), self.month_day, self._is_suspected(fields[4]))

    def _stay_disease(self, fields: list[str]) -> None:
        """SB: 2 disease, 3 modifiers, 5 ICD-10."""
        fields += [""] * (5 - len(fields))
        icd10 = fields[4].strip()
        if fields[1].strip() == FREE_TEXT_DISEASE and not icd10:
            self._without("SB", "free text")
            return
        code = "ICD10" + SEPARATOR + icd10 if icd10 else self._disease_code(fields[1])
        self._event("SB", code, self.month_day, self._is_suspected(fields[2]))

    def _disease_code(self, text: str) -> str | None:
        code = text.strip()
        if re.fullmatch(r"\d{7}", code, re.ASCII):
            return DISEASE + code
        self.told.warnings["unreadable code"] += 1
        return None

    def _is_suspected(self, modifiers: str) -> bool:
        return bool(modifiers) and is_suspected(modifiers.strip(), self.suspected)

    def _bundled(self, fields: list[str]) -> None:
        """CD: 2 day, 6 code, 7 quantity, 10 times."""
        fields += [""] * (10 - len(fields))
        code, reason = code_of(fields[5])
        if reason:
            self._without("CD", reason)
            return
        value, fault = self._value(fields[6], fields[9].strip() or "1")
        self._coded("CD", code, days_until(fields[1]), value, fault)

    def _service(self, fields: list[str]) -> None:
        """SI, IY, TO: 2 診療識別, 4 code, 5 quantity, 6 points, 14 (TO: 18) and on the days of the month.

        A unit (算定単位) is a run of records; the one with points ends it. Its members share their
        days: one that does not tell them has those of the next that does.
        """
        record = fields[0]
        first = FIRST_DAY[record]
        if len(fields) < first + DAYS:
            fields += [""] * (first + DAYS - len(fields))
        if fields[1] and self.unit:  # a new block; an empty 診療識別 is carried forward
            self._close_unit([])
        code, reason = code_of(fields[3])
        cells = [(day, value) for day, value in enumerate(fields[first : first + DAYS], 1) if value]
        if (cells or fields[5]) and self.unit:
            self._close_unit(cells)
        if reason:
            self._without(record, reason)
        elif cells or fields[5]:
            self._on_days(record, code, fields[4], cells)
        else:
            self.unit.append((record, code, fields[4]))

    def _close_unit(self, cells: list[tuple[int, str]]) -> None:
        for record, code, quantity in self.unit:
            self._on_days(record, code, quantity, cells)
        self.unit.clear()

    def _on_days(self, record: str, code: str | None, quantity: str, cells: list[tuple[int, str]]) -> None:
        """An event per day with a number above zero; without any day, one in the month."""
        if not cells:
            value, fault = self._value(quantity, "1")
            self._coded(record, code, self.month_day, value, fault)
            self.told.warnings["dated to the month"] += 1
            return
        made = False
        for number, times in cells:
            if quantity_of(times) == 0:
                continue
            made = True
            value, fault = self._value(quantity, times)
            day = None if self.first is None else self.first + number - 1
            if day is not None and self.last is not None and day > self.last:
                day = None
            self._coded(record, code, day, value, fault)
        if not made:
            self._without(record, "no day with a number")

    def _value(self, quantity: str, times: str) -> tuple[float | None, str | None]:
        """Quantity by times, None where no quantity is told; and the fault of either."""
        count = quantity_of(times)
        amount = quantity_of(quantity) if quantity else 1.0
        if count is None or amount is None:
            return None, UNREADABLE_VALUE
        return (count * amount if quantity else None), None

    def _coded(
        self, record: str, code: str | None, day: int | None, value: float | None, fault: str | None
    ) -> None:
        if code is None:
            self.told.warnings["unreadable code"] += 1
        if day is None:
            fault = UNREADABLE_DATE
        self.told.events.append((self.receipt, record, code, day, False, value, fault))
