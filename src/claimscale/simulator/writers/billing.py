"""What receipts and DPC files share: the order of claims in files, and billed drugs and acts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from claimscale.simulator.writers.claims import NONE, Claims, Services, VisitColumns, first_days, months_of
from claimscale.simulator.writers.masters import Act, Drug, SimulatedMasters
from claimscale.simulator.writers.text import choose, facility_codes, texts_of_months

BUNDLED_CHAPTERS = frozenset("BCDEFGHIJMNO")
"""Acts in the day rate of a DPC stay. Operations, anaesthesia and the ward are billed separately."""


@dataclass(frozen=True)
class Filing:
    """The order of claims by facility, month, setting (outpatients first) and patient.

    `place` is each visit's position in that order, and `visits` are the visits in it. A file starts at each
    place in `starts`. `facility` (9 digits) is by visit.
    """

    place: np.ndarray
    visits: np.ndarray
    starts: np.ndarray
    facility: pa.Array

    @classmethod
    def of(cls, visits: VisitColumns) -> Filing:
        """Raises BadInput for a hospital without a facility code."""
        facility = facility_codes(visits.hospital)
        order_of_facility = facility.dictionary_encode()
        rank = np.argsort(np.argsort(np.array(order_of_facility.dictionary.to_pylist(), "S9")))
        hospital = rank[order_of_facility.indices.to_numpy()] if len(facility) else np.zeros(0, int)
        order = np.lexsort((visits.patient, visits.is_stay, visits.month, hospital))
        place = np.empty(order.size, np.int64)
        place[order] = np.arange(order.size)
        keys = np.stack([hospital, visits.month, visits.is_stay])[:, order]
        starts = np.flatnonzero((np.diff(keys, axis=1, prepend=-1) != 0).any(axis=0)) if order.size else order
        return cls(place, order, starts, facility)

    def heads(self, visits: VisitColumns, starts: np.ndarray) -> Iterator[tuple[str, str, str]]:
        """Hospital, facility and month (YYYYMM) of the files that start at the places in `starts`."""
        first = self.visits[starts]
        months = texts_of_months(visits.month[first])
        columns = (visits.hospital.take(first), self.facility.take(first), months)
        return zip(*(column.to_pylist() for column in columns), strict=True)

    def numbers_in_file(self) -> np.ndarray:
        """The number of each visit in its file, from 1."""
        file = np.searchsorted(self.starts, self.place, side="right") - 1
        return self.place - self.starts[file] + 1


@dataclass(frozen=True)
class Items:
    """The billed drugs and acts of a shard in the order of a receipt.

    Rows are sorted by the visit's place, 診療識別, day and receipt code. `product` is a position in
    `products`. `is_bundled` marks rows in the day rate of a stay.
    """

    products: list[Drug | Act]
    product: np.ndarray
    visit: np.ndarray
    day: np.ndarray
    is_bundled: np.ndarray

    @classmethod
    def of(cls, claims: Claims, masters: SimulatedMasters, place: np.ndarray) -> Items:
        """Raises BadInput for a code that the masters lack."""
        drugs, drug = _products(claims.drugs, masters.drug)
        acts, act = _products(claims.procedures, masters.act)
        products = [*drugs, *acts]
        product = np.concatenate([drug, act + len(drugs)])
        visit = np.concatenate([claims.drugs.visit, claims.procedures.visit])
        day = np.concatenate([claims.drugs.day, claims.procedures.day])
        identification = np.array([int(each.identification) for each in products], np.int64)
        code = np.array([int(each.receipt_code) for each in products], np.int64)
        order = np.lexsort((code[product], day, identification[product], place[visit]))
        bundled = np.array(
            [isinstance(each, Drug) or each.chapter in BUNDLED_CHAPTERS for each in products], bool
        )
        product, visit, day = product[order], visit[order], day[order]
        return cls(products, product, visit, day, claims.visits.is_stay[visit] & bundled[product])

    def where(self, rows: np.ndarray) -> Items:
        return Items(
            self.products, self.product[rows], self.visit[rows], self.day[rows], self.is_bundled[rows]
        )

    def identification(self) -> np.ndarray:
        """診療識別 of each row as a number."""
        return np.array([int(each.identification) for each in self.products], np.int64)[self.product]

    def points(self) -> np.ndarray:
        return np.array([each.points for each in self.products], np.int64)[self.product]

    def text(self, prefixes: list[str]) -> pa.Array:
        """One text per product, looked up for each row."""
        return choose(prefixes, self.product)

    def blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether a row starts a block (visit and 診療識別), and its number in the block from 1."""
        identification = self.identification()
        begins = np.diff(self.visit, prepend=-1) != 0
        begins |= np.diff(identification, prepend=-1) != 0
        return begins, count_within(begins)


def _products(rows: Services, product_of) -> tuple[list, np.ndarray]:
    occurring, position = np.unique(rows.code, return_inverse=True)
    names = rows.codes.take(occurring).to_pylist()
    return [product_of(name) for name in names], position


def count_within(begins: np.ndarray) -> np.ndarray:
    """The number of each row since the last start, from 1.

    >>> count_within(np.array([True, False, False, True]))
    array([1, 2, 3, 1])
    """
    rows = np.arange(begins.size)
    return rows - np.maximum.accumulate(np.where(begins, rows, 0)) + 1


def sorted_diagnoses(
    claims: Claims, masters: SimulatedMasters, place: np.ndarray
) -> tuple[Services, np.ndarray]:
    """Diagnoses by claim, confirmed ones first, and their number in the claim; 1 is the main diagnosis."""
    rows = claims.diagnoses
    code = rows.look_up(lambda name: int(masters.disease(name)), np.int64)
    rows = rows.where(np.lexsort((code, rows.suspected, place[rows.visit])))
    return rows, count_within(np.diff(rows.visit, prepend=-1) != 0)


def first_treated(rows: Services, visits: VisitColumns) -> np.ndarray:
    """診療開始日: the first day of a claim of the patient with the disease."""
    seen = np.where(visits.start == NONE, first_days(visits.month), visits.start)
    key = (visits.patient[rows.visit].astype(np.int64) * max(len(rows.codes), 1) + rows.code) * 2
    _, disease = np.unique(key + rows.suspected, return_inverse=True)
    first = np.full(disease.max(initial=-1) + 1, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(first, disease, seen[rows.visit])
    return first[disease]


def ages(claims: Claims) -> np.ndarray:
    """Age in years on the first day of each claim's month, not below 0."""
    birth = claims.patients.birth[claims.visits.patient]
    birth_month = months_of(birth)
    months = claims.visits.month - birth_month - (birth > first_days(birth_month))
    return np.maximum(months, 0).astype(np.int64) // 12
