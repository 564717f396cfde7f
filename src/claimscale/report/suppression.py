"""Small counts of a table hidden, and as many others as it takes that no hidden one can be worked out.

Whoever reads a table knows its sums, that counts are whole and not negative, and the rule by which cells
were hidden. `protected` plays this reader: as long as a hidden count has only one possible value, one more
cell goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

BOUNDLESS = 1e9
"""More than any count: what stands for no upper bound where an integer program is solved."""
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

    def rounded(self, count: int, seeds: int = 1) -> int:
        """The count to the nearest `base`; one summed over seeds to as many times that, or it tells more."""
        step = self.base * seeds if self.base > 1 else 1
        return step * math.floor(count / step + 0.5)


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
        implied: cells that are never shown, but follow from others: where one is small, it must not.
        fixed: cells that others have shown already, and that can no longer be hidden.
    """
    sums = list(sums)
    for one in sums:
        assert counts[one.total] == sum(counts[part] for part in one.parts), "a sum that does not hold"
    small = {place for place, count in enumerate(counts) if rule.is_small(count)}
    hidden = small - fixed | implied
    reader = _Reader(counts, sums, rule, implied)
    # Cells hidden for others' sake must stay unknown too, or hiding them would be in vain. What is unknown
    # stays so when more is hidden.
    waiting = sorted(hidden - (implied - small), reverse=True)
    while waiting:
        place = waiting.pop()
        while reader.knows(place, hidden):
            more = _next(place, counts, sums, hidden | fixed)
            if more is None:
                break
            hidden.add(more)
            waiting.append(more)
    return [
        rule.rounded(count) if place not in hidden else rule.mark if place in small - implied else None
        for place, count in enumerate(counts)
    ]


def _next(place: int, counts: Sequence[int], sums: Sequence[Sum], kept: set[int]) -> int | None:
    """The next cell to hide: the smallest shown in reach of `place`, parts before totals, never a zero."""
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
        self.unknown: set[int] = set()
        """Cells of which another possible value is known."""

    def knows(self, place: int, hidden: set[int]) -> bool:
        """Whether the cell has one possible value only."""
        if place in self.unknown:
            return False
        low, high = self._narrowed(*self._bounds(hidden))
        if low[place] == high[place]:
            return True
        sums, cells = self._around(place, low < high)
        if len(sums) <= 1:
            return False  # with a single sum the bounds are exact
        return not self._may_differ(place, low, high, sums, cells)

    def _bounds(self, hidden: set[int]) -> tuple[np.ndarray, np.ndarray]:
        slack = (self.rule.base - 1) // 2  # what rounding leaves open
        rounded = self.rule.base * np.floor(self.counts / self.rule.base + 0.5)
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
        for _ in range(50):
            before = (low.copy(), high.copy())
            for one in self.sums:
                total, parts = one.total, list(one.parts)
                least, most = low[parts], high[parts]
                low[total] = max(low[total], least.sum())
                high[total] = min(high[total], most.sum())
                high[parts] = np.minimum(most, high[total] - (least.sum() - least))
                bounded = np.isfinite(most)
                if bounded.all():
                    low[parts] = np.maximum(least, low[total] - (most.sum() - most))
                elif (~bounded).sum() == 1:  # only the open one is bounded by the others
                    open_part = one.parts[int(np.flatnonzero(~bounded)[0])]
                    low[open_part] = max(low[open_part], low[total] - most[bounded].sum())
            if np.array_equal(before[0], low) and np.array_equal(before[1], high):
                break
        return low, high

    def _around(self, place: int, free: np.ndarray) -> tuple[list[Sum], list[int]]:
        """The sums that bear on a cell, through cells that are not fixed, and those cells."""
        reach, found = {place}, []
        rest = list(self.sums)
        while touched := [one for one in rest if any(cell in reach for cell in one.cells if free[cell])]:
            found += touched
            rest = [one for one in rest if one not in touched]
            reach |= {cell for one in touched for cell in one.cells if free[cell]}
        return found, sorted(reach)

    def _may_differ(
        self, place: int, low: np.ndarray, high: np.ndarray, sums: Sequence[Sum], cells: Sequence[int]
    ) -> bool:
        """Whether whole numbers within the bounds satisfy the sums with another value of the cell."""
        column = {cell: number for number, cell in enumerate(cells)}
        matrix, known = np.zeros((len(sums), len(cells))), np.zeros(len(sums))
        for row, one in enumerate(sums):
            for cell, sign in [(one.total, -1.0), *((part, 1.0) for part in one.parts)]:
                if cell in column:
                    matrix[row, column[cell]] += sign
                else:
                    known[row] -= sign * low[cell]
        cost, chosen = np.zeros(len(cells)), list(cells)
        bounds = Bounds(low[chosen], np.minimum(high[chosen], BOUNDLESS))  # pyright: ignore[reportArgumentType]
        for direction in (1.0, -1.0):
            cost[column[place]] = direction
            found = milp(
                cost,
                integrality=np.ones(len(cells)),
                bounds=bounds,
                constraints=LinearConstraint(matrix, known, known),  # pyright: ignore[reportArgumentType]
            )
            if found.x is not None:
                other = np.round(found.x) != self.counts[list(cells)]
                self.unknown.update(np.asarray(cells)[other].tolist())
                if place in self.unknown:
                    return True
        return False
