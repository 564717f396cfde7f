"""Electronic receipts (レセプト電算処理, UKE): CP932, CRLF, a file per hospital, month and setting.

Outpatient claims are 医科 receipts, stays are DPC receipts. SI records of a stay are operations, anaesthesia
and ward fees, CD records all other acts and drugs. Unknown fields are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from claimscale.simulator.writers.base import WriterOptions
from claimscale.simulator.writers.billing import Filing, Items, ages, first_treated, sorted_diagnoses
from claimscale.simulator.writers.claims import NONE, Claims, claims_of, first_days
from claimscale.simulator.writers.masters import SUSPECTED, Drug, SimulatedMasters
from claimscale.simulator.writers.text import Lines, choose, join, numbers, texts_of_days, texts_of_months

IR, RE, HO, BU, SB, KK, SY, SI, CD, GO = range(10)
"""The order of records in a receipt; SI and IY share a rank."""
DPC_CODE = "999999xx99x0xx"
DEAD, BETTER = "6", "2"
DIED, CONTINUING = "3", "1"
MAIN_ROLES = ("11", "21", "01")
"""傷病名区分 of the main diagnosis, which is also the reason for admission and took most resources."""
COMORBID_ROLES = ("41", "42", "43", "44")
SB_ROLES = (*((1, role) for role in MAIN_ROLES), *enumerate(COMORBID_ROLES, 2))
"""Number of the diagnosis in the claim and its 傷病名区分, in the order of SB records."""


class UkeWriter:
    """`uke/<hospital>/<YYYYMM>/RECEIPTC_<shard>.UKE` and `RECEIPTD_...`, and `masters/`."""

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder = folder
        self.wareki = options.wareki
        self.masters = SimulatedMasters.of(country_codes)

    def write(self, events: pa.Table, shard: int) -> None:
        claims = claims_of(events)
        filing = Filing.of(claims.visits)
        if not filing.starts.size:
            return
        items = Items.of(claims, self.masters, filing.place)
        points = np.zeros(filing.place.size, np.int64)
        np.add.at(points, items.visit, items.points())
        lines = Lines()
        self._add_ends(lines, claims, filing, points)
        self._add_receipts(lines, claims, filing, points)
        self._add_diseases(lines, claims, filing)
        self._add_billed(lines, items.where(~items.is_bundled), claims, filing)
        self._add_bundled(lines, items.where(items.is_bundled), filing)
        kinds = claims.visits.is_stay[filing.visits[filing.starts]]
        heads = filing.heads(claims.visits, filing.starts)
        files = [
            self.folder / "uke" / hospital / month / f"RECEIPT{'D' if is_stay else 'C'}_{shard:06d}.UKE"
            for (hospital, _, month), is_stay in zip(heads, kinds, strict=True)
        ]
        lines.write(files, filing.starts)

    def finish(self) -> None:
        self.masters.write(self.folder / "masters")

    def _add_ends(self, lines: Lines, claims: Claims, filing: Filing, points: np.ndarray) -> None:
        """The facility at the start of each file (IR) and the totals at its end (GO)."""
        heads = filing.heads(claims.visits, filing.starts)
        month = claims.visits.month[filing.visits[filing.starts]]
        billed = texts_of_months(month + 1, self.wareki).to_pylist()
        lines.add_texts(
            (
                f"IR,1,{facility[:2]},1,{facility[2:]},,模擬病院{hospital},{month},00,"
                for (hospital, facility, _), month in zip(heads, billed, strict=True)
            ),
            filing.starts,
            IR,
        )
        last = np.append(filing.starts[1:], filing.place.size) - 1
        totals = np.add.reduceat(points[filing.visits], filing.starts)
        receipts = last - filing.starts + 1
        lines.add_texts(
            (f"GO,{count},{total},99" for count, total in zip(receipts, totals, strict=True)), last, GO
        )

    def _add_receipts(self, lines: Lines, claims: Claims, filing: Filing, points: np.ndarray) -> None:
        """Patient and insurer (RE, HO); for stays also DPC group and age (BU, KK)."""
        patients, visits, age = claims.patients, claims.visits, ages(claims)
        stay = np.flatnonzero(visits.is_stay)
        # Kind of receipt by age: under 6, adults, 70 to 74, and the separate insurance from 75.
        person = choose(["114", "112", "118", "318"], np.digitize(age, [6, 70, 75]))
        lines.add(
            join(
                "RE,",
                numbers(filing.numbers_in_file()),
                choose([",1", ",4"], visits.is_stay),
                person,
                ",",
                texts_of_months(visits.month, self.wareki),
                choose([",,1,", ",,2,"], patients.is_female[visits.patient]),
                texts_of_days(patients.birth, self.wareki).take(visits.patient),
                ",,",
                texts_of_days(np.where(visits.is_stay, visits.start, NONE), self.wareki),
                ",,,,,",
                pa.array(patients.subject[visits.patient]).cast(pa.string()),
                choose(["," * 24, "," * 26], visits.is_stay),
            ),
            filing.place,
            RE,
        )
        days = np.where(visits.start == NONE, 0, visits.end - visits.start + 1)
        lines.add(
            join(
                choose(["HO,06990019,,,", "HO,39990010,,,"], age >= 75),
                numbers(days),
                ",",
                pa.array(points).cast(pa.string()),
                choose(["," * 9, "," * 10], visits.is_stay),
            ),
            filing.place,
            HO,
        )
        days_of_stay = [texts_of_days(day[stay], self.wareki) for day in (visits.start, visits.end)]
        outcome = choose([f",{BETTER},", f",{DEAD},"], visits.is_fatal[stay])
        grouping = join(join(f"BU,{DPC_CODE}", *days_of_stay, separator=","), outcome)
        lines.add(grouping, filing.place[stay], BU)
        lines.add(join("KK,,,1,,,", numbers(age[stay]), "," * 7), filing.place[stay], KK)

    def _add_diseases(self, lines: Lines, claims: Claims, filing: Filing) -> None:
        rows, number = sorted_diagnoses(claims, self.masters, filing.place)
        code = rows.look_up(self.masters.disease, object)
        in_sb = claims.visits.is_stay[rows.visit] & (number <= SB_ROLES[-1][0])
        for order, (wanted, role) in enumerate(SB_ROLES):
            chosen = np.flatnonzero(in_sb & (number == wanted))
            icd10 = rows.codes.take(rows.code[chosen])
            modifier = choose(["", SUSPECTED], rows.suspected[chosen])
            text = join("SB", code[chosen], modifier, "", icd10, role, "", "", separator=",")
            lines.add(text, filing.place[rows.visit[chosen]], SB, order)
        start = first_treated(rows, claims.visits)
        in_sy = np.flatnonzero(~in_sb)
        rows, number, code, start = rows.where(in_sy), number[in_sy], code[in_sy], start[in_sy]
        died = claims.visits.is_fatal[rows.visit] & (number == 1)
        lines.add(
            join(
                "SY,",
                code,
                ",",
                texts_of_days(start, self.wareki),
                choose([f",{CONTINUING},", f",{DIED},"], died),
                choose(["", SUSPECTED], rows.suspected),
                choose([",,,", ",,01,"], number == 1),
            ),
            filing.place[rows.visit],
            SY,
            np.arange(number.size),
        )

    def _add_billed(self, lines: Lines, items: Items, claims: Claims, filing: Filing) -> None:
        """Acts (SI) and drugs (IY); only the first record of a block has a 診療識別."""
        begins, _ = items.blocks()
        prefixes = [
            f"{'IY' if isinstance(each, Drug) else 'SI'},{identification},1,{each.receipt_code},"
            f"{'1' if isinstance(each, Drug) else ''},{each.points},1,,,,,,"
            for each in items.products
            for identification in ("", each.identification)
        ]
        month_day = items.day - first_days(claims.visits.month)[items.visit]
        calendars = ["".join(",1" if day == of else "," for day in range(31)) for of in range(31)]
        text = join(choose(prefixes, items.product * 2 + begins), choose(calendars, month_day))
        lines.add(text, filing.place[items.visit], SI, np.arange(begins.size))

    def _add_bundled(self, lines: Lines, items: Items, filing: Filing) -> None:
        _, number = items.blocks()
        suffixes = [
            f",1,{each.receipt_code},{'1' if isinstance(each, Drug) else ''},,,1," for each in items.products
        ]
        identification = items.text([f",{each.identification}," for each in items.products])
        text = join(
            "CD,",
            texts_of_days(items.day, self.wareki),
            identification,
            numbers(number, 4),
            items.text(suffixes),
        )
        lines.add(text, filing.place[items.visit], CD, np.arange(number.size))
