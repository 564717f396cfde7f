"""Small counts of a table hidden, and as many others as it takes that no hidden one can be worked out.

Whoever reads a table knows its sums, that counts are whole and not negative, and the rule by which cells were
hidden. `protected` plays this reader: as long as a hidden count has only one possible value, one more cell goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

Shown = int | str | None
"""A count as it may be shown: itself, '<10' where it is small, null where it would give another away."""


@dataclass(frozen=True)
class Rule:
    """Counts from 1 to below `least` are small; `zeros` too where they are. Others are rounded to `base`."""

    least: int
    base: int = 1
    zeros: bool = False

    @property
    def mark(self) -> str:
        return f"<{self.least}"

    def is_small(self, count: float) -> bool:
        return (0 if self.zeros else 1) <= count < self.least

    def rounded(self, count: int) -> int:
        return self.base * math.floor(count / self.base + 0.5)


PROFILES: dict[str, Rule | None] = {
    "none": None,
    "ndb": Rule(10),
    "cms": Rule(11),
    "opensafely": Rule(8, base=5),
    "acro": Rule(10, zeros=True),
}
"""Where each rule comes from: Japan's Guideline on the provision of NDB data (below 10), the CMS cell size
suppression policy (1 to 10), OpenSAFELY's permitted results (up to 7 hidden, others to the nearest 5), ACRO's
threshold (below 10, zeros too)."""


@dataclass(frozen=True)
class Sum:
    """The cell at `total` is the sum of the cells at `parts`."""

    total: int
    parts: tuple[int, ...]

    @property
    def cells(self) -> tuple[int, ...]:
        return (self.total, *self.parts)


def protected(
    counts: Sequence[int],
    sums: Iterable[Sum],
    rule: Rule,
    implied: frozenset[int] = frozenset(),
    fixed: frozenset[int] = frozenset(),
) -> list[Shown]:
    """The counts as they may be shown, in their order.

    Args:
        counts: whole numbers from 0.
        sums: which counts are sums of others; all must hold.
        rule: what is small.
        implied: cells that are not shown in any case, but follow from others: where one is small, it must not.
        fixed: cells that others have shown already, and that can no longer be hidden.
    """
    sums = list(sums)
    for one in sums:
        assert counts[one.total] == sum(counts[part] for part in one.parts), "a sum that does not hold"
    small = {place for place, count in enumerate(counts) if rule.is_small(count)}
    hidden = small - fixed | implied
    reader = _Reader(counts, sums, rule, implied)
    closed = False
    while not closed:
        closed = True
        # Cells hidden for others' sake must stay unknown too, or hiding them would be in vain.
        for place in sorted(hidden - (implied - small)):
            while reader.knows(place, hidden):
                more = _next(place, counts, sums, hidden | fixed)
                if more is None:
                    break
                hidden.add(more)
                closed = False
    return [
        rule.rounded(count) if place not in hidden else rule.mark if place in small - implied else None
        for place, count in enumerate(counts)
    ]


def _next(place: int, counts: Sequence[int], sums: Sequence[Sum], kept: set[int]) -> int | None:
    """The next cell to hide: the smallest shown one in reach of `place`, parts before totals, never a zero."""
    reach, seen = {place}, set()
    while True:
        touched = [one for one in sums if reach & set(one.cells) and one not in seen]
        if not touched:
            return None
        seen.update(touched)
        open_parts = [c for one in touched for c in one.parts if c not in kept and counts[c] > 0]
        open_totals = [one.total for one in touched if one.total not in kept and counts[one.total] > 0]
        for candidates in (open_parts, open_totals):
            if candidates:
                return min(candidates, key=lambda cell: (counts[cell], cell))
        reach |= {cell for one in touched for cell in one.cells}


class _Reader:
    """What somebody can conclude who sees the table: the possible values of a hidden cell."""

    def __init__(
        self, counts: Sequence[int], sums: Sequence[Sum], rule: Rule, implied: frozenset[int]
    ) -> None:
        self.counts = np.asarray(counts, dtype=np.float64)
        self.sums, self.rule, self.implied = sums, rule, implied

    def knows(self, place: int, hidden: set[int]) -> bool:
        """Whether the cell has one possible value only."""
        low, high = self._bounds(hidden)
        low, high = self._narrowed(low, high)
        if low[place] == high[place]:
            return True
        mine = [one for one in self.sums if hidden & set(one.cells)]
        if len(mine) <= 1:
            return False  # with a single sum the bounds are exact
        return not self._may_differ(place, low, high)

    def _bounds(self, hidden: set[int]) -> tuple[np.ndarray, np.ndarray]:
        slack = (self.rule.base - 1) // 2  # what rounding leaves open
        rounded = np.array([self.rule.rounded(int(count)) for count in self.counts], dtype=np.float64)
        low, high = np.maximum(rounded - slack, 0), rounded + slack
        for place in hidden:
            if place in self.implied:
                low[place], high[place] = 0, np.inf
            elif self.rule.is_small(self.counts[place]):
                low[place], high[place] = 0 if self.rule.zeros else 1, self.rule.least - 1
            else:
                low[place], high[place] = self.rule.least, np.inf
        return low, high

    def _narrowed(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds made as narrow as each sum alone allows, again and again until nothing moves."""
        low, high = low.copy(), high.copy()
        for _ in range(50):
            before = (low.copy(), high.copy())
            for one in self.sums:
                parts = list(one.parts)
                low[one.total] = max(low[one.total], low[parts].sum())
                high[one.total] = min(high[one.total], high[parts].sum())
                for part in parts:
                    others = [cell for cell in parts if cell != part]
                    high[part] = min(high[part], high[one.total] - low[others].sum())
                    if np.isfinite(high[others]).all():
                        low[part] = max(low[part], low[one.total] - high[others].sum())
            if np.array_equal(before[0], low) and np.array_equal(before[1], high):
                break
        return low, high

    def _may_differ(self, place: int, low: np.ndarray, high: np.ndarray) -> bool:
        """Whether whole numbers within the bounds satisfy all sums with another value of the cell."""
        matrix = np.zeros((len(self.sums), len(self.counts)))
        for row, one in enumerate(self.sums):
            matrix[row, one.total] = -1
            matrix[row, list(one.parts)] += 1
        cost = np.zeros(len(self.counts))
        for direction in (1.0, -1.0):
            cost[place] = direction
            found = milp(
                cost,
                integrality=np.ones(len(cost)),
                bounds=Bounds(low, high),
                constraints=LinearConstraint(matrix, 0, 0),
            )
            if found.status == 3:  # unbounded: anything is possible
                return True
            if found.x is not None and round(found.x[place]) != self.counts[place]:
                return True
        return False
