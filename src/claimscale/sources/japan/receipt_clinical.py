"""Clinical records of a receipt as events: stays, diseases, and services (acts, drugs, materials).

Numbers in comments are field numbers, counted from 1. Days are whole days since 1970-01-01, None if unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from claimscale.codes.systems import DEATH, DISCHARGE, SEPARATOR
from claimscale.sources.japan.eras import NO_DATE
from claimscale.sources.japan.masters import DISEASE, is_suspected
from claimscale.sources.japan.receipt_fields import code_of, days_until, quantity_of
from claimscale.sources.raw import RowCounts

FREE_TEXT_DISEASE = "0000999"
DIED = "3"
DIED_IN_HOSPITAL = ("6", "7")
"""転帰 of a disease, and of a DPC stay (of the main disease, of another)."""
FIRST_DAY = {"SI": 13, "IY": 13, "TO": 17}
"""Where the 31 columns of days begin, from 0."""
DAYS = 31
UNREADABLE_DATE, UNREADABLE_VALUE = "unreadable date", "unreadable value"


class ReceiptEvent(NamedTuple):
    """One event of a receipt."""

    receipt: int
    source_table: str
    code: str | None
    day: int | None
    suspected: bool
    numeric_value: float | None
    issue: str | None


class ReceiptRow(NamedTuple):
    """One receipt: a patient's claim of one month at one facility."""

    receipt: int
    patient: str | None
    hospital_id: str
    kind: str
    first_day: int | None
    last_day: int | None
    birth: int | None
    sex: str
    is_stay: bool
    admission: int | None


@dataclass
class ParsedReceipts:
    """Events and receipts of files, and counts of their lines."""

    events: list[ReceiptEvent] = field(default_factory=list)
    receipts: list[ReceiptRow] = field(default_factory=list)
    counts: RowCounts = field(default_factory=RowCounts)


class ClinicalRecords:
    """Turns the clinical records of one receipt after the other into events, which are added to `parsed`."""

    def __init__(self, suspected: frozenset[str], parsed: ParsedReceipts) -> None:
        self.suspected = suspected
        self.parsed = parsed
        self.counts = parsed.counts
        self.handlers = dict.fromkeys(FIRST_DAY, self.service)
        self.handlers |= {"BU": self.stay, "SB": self.stay_disease, "SY": self.disease, "CD": self.bundled}

    def begin(
        self, receipt: int, month: tuple[int | None, int | None], birth: int | None, admission: int | None
    ) -> None:
        """Begin a receipt; `month` has the first and last day of its month."""
        self.receipt = receipt
        self.first, self.last = month
        self.admission = admission
        self.has_died = False
        self.unit: list[tuple[str, str | None, str]] = []
        # Records that name only the month are dated to its first day, or to a birth within it.
        self.month_day = self.first
        if self.first is not None and self.last is not None and birth is not None:
            self.month_day = birth if self.first < birth <= self.last else self.first

    def end(self) -> None:
        self._close_unit([])

    def _event(
        self,
        table: str,
        code: str | None,
        day: int | None,
        suspected: bool = False,
        value: float | None = None,
        issue: str | None = None,
    ) -> None:
        self.parsed.events.append(ReceiptEvent(self.receipt, table, code, day, suspected, value, issue))

    def stay(self, fields: list[str]) -> None:
        """BU: 3 admission, 4 discharge, 5 outcome."""
        fields += [""] * (5 - len(fields))
        self.has_died = fields[4].strip() in DIED_IN_HOSPITAL
        is_over = fields[3].strip() not in NO_DATE
        if not is_over and not self.has_died:
            self.counts.no_event("BU", "stay not ended")
            return
        admitted = days_until(fields[2]) if fields[2].strip() not in NO_DATE else self.admission
        day = days_until(fields[3])
        issue = UNREADABLE_DATE if day is None else None
        if day is not None and admitted is not None and day < admitted:
            issue = "end before start"
        if is_over:
            self._event("BU", DISCHARGE, day, issue=issue)
        if self.has_died:
            self._event("BU", DEATH, day, issue=issue)

    def disease(self, fields: list[str]) -> None:
        """SY: 2 disease, 4 outcome, 5 modifiers."""
        fields += [""] * (5 - len(fields))
        # A discharge gives the day of a death, the outcome of a disease only the month.
        died = fields[3].strip() == DIED and not self.has_died
        if died:
            self._event("SY", DEATH, self.last, issue=_date_issue(self.last))
        if fields[1].strip() == FREE_TEXT_DISEASE:
            if not died:
                self.counts.no_event("SY", "free text")
            return
        self._disease_event("SY", self._disease_code(fields[1]), fields[4])

    def stay_disease(self, fields: list[str]) -> None:
        """SB: 2 disease, 3 modifiers, 5 ICD-10."""
        fields += [""] * (5 - len(fields))
        icd10 = fields[4].strip()
        if fields[1].strip() == FREE_TEXT_DISEASE and not icd10:
            self.counts.no_event("SB", "free text")
            return
        code = "ICD10" + SEPARATOR + icd10 if icd10 else self._disease_code(fields[1])
        self._disease_event("SB", code, fields[2])

    def _disease_event(self, table: str, code: str | None, modifiers: str) -> None:
        suspected = bool(modifiers) and is_suspected(modifiers.strip(), self.suspected)
        self._event(table, code, self.month_day, suspected, issue=_date_issue(self.month_day))

    def _disease_code(self, text: str) -> str | None:
        code = text.strip()
        if re.fullmatch(r"\d{7}", code, re.ASCII):
            return DISEASE + code
        self.counts.warnings["unreadable code"] += 1
        return None

    def bundled(self, fields: list[str]) -> None:
        """CD: 2 day, 6 code, 7 quantity, 10 times."""
        fields += [""] * (10 - len(fields))
        code, reason = code_of(fields[5])
        if reason:
            self.counts.no_event("CD", reason)
            return
        self._service_event("CD", code, days_until(fields[1]), fields[6], fields[9].strip() or "1")

    def service(self, fields: list[str]) -> None:
        """SI, IY, TO: 2 診療識別, 4 code, 5 quantity, 6 points, 14 (TO: 18) and following: days of the month.

        A unit (算定単位) is a run of records that ends with the record that has points. A record of the unit
        without days has the days of the next record with days.
        """
        record = fields[0]
        first = FIRST_DAY[record]
        if len(fields) < first + DAYS:
            fields += [""] * (first + DAYS - len(fields))
        if fields[1] and self.unit:  # a new block; an empty 診療識別 continues the last one
            self._close_unit([])
        code, reason = code_of(fields[3])
        cells = [(day, value) for day, value in enumerate(fields[first : first + DAYS], 1) if value]
        if (cells or fields[5]) and self.unit:
            self._close_unit(cells)
        if reason:
            self.counts.no_event(record, reason)
        elif cells or fields[5]:
            self._on_days(record, code, fields[4], cells)
        else:
            self.unit.append((record, code, fields[4]))

    def _close_unit(self, cells: list[tuple[int, str]]) -> None:
        for record, code, quantity in self.unit:
            self._on_days(record, code, quantity, cells)
        self.unit.clear()

    def _on_days(self, record: str, code: str | None, quantity: str, cells: list[tuple[int, str]]) -> None:
        """One event per day with a count above zero; without any day, one event in the month."""
        if not cells:
            self._service_event(record, code, self.month_day, quantity, "1")
            self.counts.warnings["dated to the month"] += 1
            return
        is_empty = True
        for number, times in cells:
            if quantity_of(times) == 0:
                continue
            is_empty = False
            day = None if self.first is None else self.first + number - 1
            if day is not None and self.last is not None and day > self.last:
                day = None
            self._service_event(record, code, day, quantity, times)
        if is_empty:
            self.counts.no_event(record, "no day with a count")

    def _service_event(
        self, record: str, code: str | None, day: int | None, quantity: str, times: str
    ) -> None:
        """The number of an event is quantity by times, None without a quantity."""
        if code is None:
            self.counts.warnings["unreadable code"] += 1
        count = quantity_of(times)
        amount = quantity_of(quantity) if quantity else 1.0
        issue = _date_issue(day)
        value = None
        if count is None or amount is None:
            issue = issue or UNREADABLE_VALUE
        elif quantity:
            value = count * amount
        self._event(record, code, day, False, value, issue)


def _date_issue(day: int | None) -> str | None:
    return UNREADABLE_DATE if day is None else None
