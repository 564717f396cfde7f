"""The structure of UKE files: facilities, receipts, their patients, and totals.

Fields are read by position (numbers in comments count from 1). Short lines are padded, longer lines are
accepted, unknown records are counted. Days are whole days since 1970-01-01, None if unknown.
Source: 社会保険診療報酬支払基金, レセプト電算処理システム 記録条件仕様 (医科, DPC).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from claimscale.codes.systems import SEX_PREFIX
from claimscale.errors import BadInput
from claimscale.sources.japan.eras import NO_DATE
from claimscale.sources.japan.receipt_clinical import ClinicalRecords, ParsedReceipts, ReceiptRow
from claimscale.sources.japan.receipt_fields import (
    SEXES,
    days_until,
    ends_of_month,
    half_width,
    quantity_of,
)
from claimscale.sources.japan.text_files import lines_of

MEDICAL, OTHER_FEE_TABLES = "1", ("3", "4", "6")
"""点数表: 医科; 歯科, 調剤, 訪問看護."""
OTHER = "other"
"""The source table of unknown records, whose names may be anything."""
NOT_MEDICAL, UNKNOWN_RECORD = "not a medical receipt", "unknown record"

WITHOUT_EVENT: dict[str, str] = dict.fromkeys(("HO", "KO", "SN"), "insurance")
WITHOUT_EVENT |= dict.fromkeys(("KK", "SK"), "grouping")
WITHOUT_EVENT |= {"CO": "comment", "SJ": "free text", "GA": "leave", "HH": "rates", "GT": "rates"}
"""Records of a receipt that make no event. The services of SK are also billed, in SI or CD."""


class ReceiptReader:
    """Reads files line by line and adds their receipts and events to `parsed`.

    With `by_insurance` a person is identified by insurance number, birth and sex, else by hospital and chart
    number. `suspected`: modifiers that make a disease a suspicion.
    """

    def __init__(self, by_insurance: bool, suspected: frozenset[str], parsed: ParsedReceipts) -> None:
        self.by_insurance = by_insurance
        self.parsed = parsed
        self.counts = parsed.counts
        self.clinical = ClinicalRecords(suspected, parsed)
        inside: dict[str, Callable[[list[str]], None]] = dict.fromkeys(WITHOUT_EVENT, self._no_event)
        inside |= {"HO": self._insurance, "KO": self._public_payer, "SN": self._branch}
        inside |= self.clinical.handlers
        always = {"IR": self._facility, "UK": self._no_event}
        misplaced = dict.fromkeys([*inside, "RE", "GO"], self._misplaced)
        self._before = misplaced | always
        self._between = misplaced | always | {"RE": self._begin_receipt, "GO": self._totals}
        self._inside = inside | always | {"RE": self._begin_receipt, "GO": self._totals}
        self._foreign = dict.fromkeys(misplaced, self._of_other_fee_table) | always

    def read(self, place: str, blocks: Iterable[bytes], number: int) -> None:
        """One file, given as bytes; `number` is its place among the files, from which receipts are numbered.

        Raises BadInput, naming the place and the line, for a file that is not UKE text, has a record where it
        cannot be, or ends before its totals.
        """
        self.place = place
        self.line = 0
        self.handlers = self._before
        self.hospital = ""
        self.is_open = False
        self.has_ended = False
        self.receipt = number << 32
        self.receipts_since_totals = 0
        self.points_since_totals = 0.0
        for first, lines in lines_of(place, blocks):
            self._read_lines(first, lines)
        if not self.line:
            raise BadInput(f"{self.place}: is empty")
        if not self.hospital:
            raise self._refuse("no facility (IR) up to the end of the file")
        if not self.has_ended and self.handlers is not self._foreign:
            raise self._refuse("it is cut off, as it ends before GO")

    def _refuse(self, cause: str) -> BadInput:
        return BadInput(f"{self.place}, line {self.line}: {cause}")

    def _read_lines(self, first: int, lines: list[str]) -> None:
        rows = self.counts.rows
        for self.line, line in enumerate(lines, first):
            fields = line.split(",")
            handler = self.handlers.get(fields[0])
            if handler is None:
                self._unknown(line)
            else:
                rows[fields[0]] += 1
                handler(fields)

    def _no_event(self, fields: list[str]) -> None:
        self.counts.no_event(fields[0], WITHOUT_EVENT.get(fields[0], "administration"))

    def _of_other_fee_table(self, fields: list[str]) -> None:
        self.counts.no_event(fields[0], NOT_MEDICAL)

    def _unknown(self, line: str) -> None:
        self.counts.rows[OTHER] += 1
        if not line.strip():
            self.counts.no_event(OTHER, "blank line")
        elif self.handlers is self._foreign:  # records that medical claims do not have
            self.counts.no_event(OTHER, NOT_MEDICAL)
        else:
            self.counts.no_event(OTHER, UNKNOWN_RECORD)
            self.counts.warnings[UNKNOWN_RECORD] += 1

    def _misplaced(self, fields: list[str]) -> None:
        needed = "facility (IR)" if self.handlers is self._before else "receipt (RE)"
        raise self._refuse(f"a record {fields[0]} before any {needed}")

    def _facility(self, fields: list[str]) -> None:
        """IR: 3 prefecture, 4 fee table, 5 institution."""
        self._end_receipt()
        self.counts.no_event("IR", "facility")
        prefecture, fee_table, institution = ([field.strip() for field in fields] + [""] * 5)[2:5]
        if not re.fullmatch(r"\d{2},\d,\d{7}", f"{prefecture},{fee_table},{institution}", re.ASCII):
            raise self._refuse("IR names no facility (2, 1 and 7 digits)")
        if fee_table not in (MEDICAL, *OTHER_FEE_TABLES):
            raise self._refuse("IR names no fee table (field 4)")
        self.hospital = prefecture + fee_table + institution
        self.handlers = self._between if fee_table == MEDICAL else self._foreign
        self.has_ended = False
        self.receipts_since_totals, self.points_since_totals = 0, 0.0

    def _totals(self, fields: list[str]) -> None:
        """GO: 2 receipts, 3 points. Excerpts of files keep the totals of the whole file."""
        self._end_receipt()
        self.counts.no_event("GO", "totals")
        totals = [quantity_of(text) for text in (*fields[1:3], "", "")[:2]]
        if totals != [self.receipts_since_totals, self.points_since_totals]:
            self.counts.warnings["totals differ"] += 1
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
        self.month = ends_of_month(fields[3])
        self.sex = SEX_PREFIX + SEXES.get(fields[5].strip(), "U")
        self.birth = days_until(fields[6])
        self.is_stay = fields[8].strip() not in NO_DATE
        self.admission = days_until(fields[8]) if self.is_stay else None
        self.chart = fields[13].strip()
        self.insured: tuple[str, ...] = ()
        self.branch = ""
        self.points: float | None = None
        self.public_points: float | None = None
        self.clinical.begin(self.receipt, self.month, self.birth, self.admission)

    def _end_receipt(self) -> None:
        if not self.is_open:
            return
        self.clinical.end()
        self.is_open = False
        patient = f"{self.hospital}-{self.chart}" if self.chart else None
        if self.by_insurance:
            known = self.insured and self.birth is not None
            patient = "/".join([*self.insured, self.branch, str(self.birth), self.sex[-1]]) if known else None
        self.receipts_since_totals += 1
        points = self.points if self.points is not None else self.public_points
        self.points_since_totals += points or 0.0
        self.parsed.receipts.append(
            ReceiptRow(
                *(self.receipt, patient, self.hospital, self.kind, *self.month),
                *(self.birth, self.sex, self.is_stay, self.admission),
            )
        )

    def _insurance(self, fields: list[str]) -> None:
        """HO: 2 insurer, 3 symbol (some insurers have none), 4 number, 6 points."""
        self._no_event(fields)
        fields += [""] * (6 - len(fields))
        insurer, symbol, number = (half_width(text) for text in fields[1:4])
        if insurer and number and not self.insured:
            self.insured = insurer, symbol, number
        if self.points is None:
            self.points = quantity_of(fields[5])

    def _public_payer(self, fields: list[str]) -> None:
        """KO: 6 points. They count if there is no insurance."""
        self._no_event(fields)
        if self.public_points is None:
            self.public_points = quantity_of((fields + [""] * 6)[5])

    def _branch(self, fields: list[str]) -> None:
        """SN: 2 payer (1 is the insurance), 7 branch: the person among those who share a number."""
        self._no_event(fields)
        fields += [""] * (7 - len(fields))
        if fields[1].strip() == "1":
            self.branch = half_width(fields[6])
