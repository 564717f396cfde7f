"""DPC survey files: EF files of stays (EFn) and outpatients (EFg), and Form 1 of stays (FF1).

Text, TAB separated, Shift_JIS, CRLF, without a header; one file per facility, month and kind. Diagnoses of
stays are in Form 1, diagnoses of outpatients are EF rows (データ区分 SY).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from claimscale.simulator.writers.base import WriterOptions
from claimscale.simulator.writers.billing import Filing, Items, sorted_diagnoses
from claimscale.simulator.writers.claims import Claims, claims_of
from claimscale.simulator.writers.masters import SUSPECTED, Act, SimulatedMasters
from claimscale.simulator.writers.text import Lines, choose, join, numbers, texts_of_days

NO_DATE = "00000000"
ID_WIDTH = 10
FORM_VERSION = "20240401"
DEAD, BETTER = "6", "2"
PATIENT, ADMISSION, DISCHARGE = "A000010", "A000020", "A000030"
MAIN_DIAGNOSES = ("A006010", "A006020", "A006030")
"""Main diagnosis, reason for admission, and most resources: the same diagnosis."""
COMORBIDITY = "A006040"
IN_DISEASES, IN_ITEMS = 0, 1


class DpcWriter:
    """`dpc/EFn_<facility>_<YYMM>_<shard>.txt`, `EFg_...`, `FF1_...`, and `masters/`."""

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder = folder
        self.masters = SimulatedMasters.of(country_codes)

    def write(self, events: pa.Table, shard: int) -> None:
        claims = claims_of(events)
        filing = Filing.of(claims.visits)
        if not filing.starts.size:
            return
        lines = Lines()
        self._add_items(lines, Items.of(claims, self.masters, filing.place), claims, filing)
        self._add_outpatient_diseases(lines, claims, filing)
        of_stays = claims.visits.is_stay[filing.visits[filing.starts]]

        def files(names: Iterable[str], starts: np.ndarray) -> list[Path]:
            return [
                self.folder / "dpc" / f"{name}_{facility}_{month[2:]}_{shard:06d}.txt"
                for name, (_, facility, month) in zip(names, filing.heads(claims.visits, starts), strict=True)
            ]

        lines.write(files(np.where(of_stays, "EFn", "EFg"), filing.starts), filing.starts)
        stays = filing.starts[of_stays]
        if stays.size:
            form = Lines()
            self._add_form(form, claims, filing)
            form.write(files(["FF1"] * stays.size, stays), stays)

    def finish(self) -> None:
        self.masters.write(self.folder / "masters")

    def _add_items(self, lines: Lines, items: Items, claims: Claims, filing: Filing) -> None:
        """Two rows per act or drug: the E row (行為明細番号 000) with points, the F row with details."""
        _, number = items.blocks()
        heads = _heads(claims, filing).take(items.visit)
        sequence = numbers(number, 4)
        identification = items.text([each.identification for each in items.products])
        days = texts_of_days(items.day)
        setting = choose(["\t\t\t\t\t\t0\t", "\t\t\t\t\t\t1\t"], claims.visits.is_stay[items.visit])
        for detail in (0, 1):
            middles = []
            for each in items.products:
                kubun = each.kubun if isinstance(each, Act) else ""
                quantity, points = ("", "") if detail == 0 else ("1", str(each.points))
                # Fields 8 (the hospital's item code) to 23 (kind of receipt).
                fields = [each.receipt_code, each.receipt_code, kubun, "", quantity, "0", points, "1"]
                fields += ["", "0", str(each.points) if detail == 0 else "", "", "", "1", "", ""]
                middles.append("\t".join([f"{detail:03d}", *fields]))
            text = join(heads, identification, sequence, items.text(middles), days, separator="\t")
            order = np.arange(number.size) * 2 + detail
            lines.add(join(text, setting), filing.place[items.visit], IN_ITEMS, order)

    def _add_outpatient_diseases(self, lines: Lines, claims: Claims, filing: Filing) -> None:
        rows, number = sorted_diagnoses(claims, self.masters, filing.place)
        kept = np.flatnonzero(~claims.visits.is_stay[rows.visit])
        rows, number = rows.where(kept), number[kept]
        code = rows.look_up(self.masters.disease, object)
        visit_day = texts_of_days(claims.visits.start, missing=NO_DATE).take(rows.visit)
        text = join(
            _heads(claims, filing).take(rows.visit),
            "SY",
            numbers(number, 4),
            "001",
            code,
            code,
            choose(["", SUSPECTED], rows.suspected),
            *[""] * 13,
            visit_day,
            *[""] * 5,
            "0",
            "",
            separator="\t",
        )
        lines.add(text, filing.place[rows.visit], IN_DISEASES, np.arange(number.size))

    def _add_form(self, lines: Lines, claims: Claims, filing: Filing) -> None:
        """Form 1: one row per item of a stay, with nine payload fields."""
        patients, visits = claims.patients, claims.visits
        stay = np.flatnonzero(visits.is_stay)
        place = filing.place[stay]
        start, end = texts_of_days(visits.start), texts_of_days(visits.end)
        admission = texts_of_days(visits.start, missing=NO_DATE)
        heads = join(filing.facility, _data_ids(claims), admission, "0\t0", separator="\t")
        born = texts_of_days(patients.birth).take(visits.patient[stay])
        sex = choose(["1", "2"], patients.is_female[visits.patient[stay]])
        admitted, discharged = start.take(stay), end.take(stay)
        outcome = choose([BETTER, DEAD], visits.is_fatal[stay])
        of_stay = heads.take(stay)
        payloads = (
            (PATIENT, [born, sex, "0000000", *[""] * 6]),
            (ADMISSION, [admitted, *[""] * 8]),
            (DISCHARGE, [discharged, "", outcome, *[""] * 6]),
        )
        for rank, (item, payload) in enumerate(payloads):
            text = join(of_stay, item, FORM_VERSION, "1", *payload, separator="\t")
            lines.add(text, place, rank)

        rows, number = sorted_diagnoses(claims, self.masters, filing.place)
        code = rows.look_up(self.masters.disease, object)
        in_stay = visits.is_stay[rows.visit]
        roles = [(item, in_stay & (number == 1)) for item in MAIN_DIAGNOSES]
        for rank, (item, wanted) in enumerate([*roles, (COMORBIDITY, in_stay & (number > 1))], len(payloads)):
            chosen = rows.where(wanted)
            sequence = numbers(number[wanted] - (item == COMORBIDITY))
            icd10 = chosen.codes.take(chosen.code)
            modifier = choose(["", SUSPECTED], chosen.suspected)
            payload = ["", icd10, "", code[wanted], modifier, "", "", "", ""]
            text = join(heads.take(chosen.visit), item, FORM_VERSION, sequence, *payload, separator="\t")
            lines.add(text, filing.place[chosen.visit], rank, np.arange(chosen.visit.size))


def _data_ids(claims: Claims) -> pa.Array:
    """データ識別番号 of each visit: the patient's number with leading zeros."""
    ids = [f"{subject:0{ID_WIDTH}d}" for subject in claims.patients.subject]
    return choose(ids, claims.visits.patient)


def _heads(claims: Claims, filing: Filing) -> pa.Array:
    """Fields 1-4 of a visit's EF rows; 3 and 4 are discharge and admission, or birth and visit day."""
    visits = claims.visits
    birth = claims.patients.birth[visits.patient]
    return join(
        filing.facility,
        _data_ids(claims),
        texts_of_days(np.where(visits.is_stay, visits.end, birth), missing=NO_DATE),
        texts_of_days(visits.start, missing=NO_DATE),
        separator="\t",
    )
