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


SUPPRESSED = "suppressed"
"""Why a task has no verdict: its results would give a hidden count away."""
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
    counts: Sequence[int], sums: Iterable[Sum], rule: Rule, implied: frozenset[int] = frozenset()
) -> list[Shown]:
    """The counts as they may be shown, in their order.

    Args:
        counts: whole numbers from 0.
        sums: which counts are sums of others; all must hold.
        rule: what is small.
        implied: cells that are never shown, but follow from others: where one is small, it must not.
    """
    sums = list(sums)
    for one in sums:
        assert counts[one.total] == sum(counts[part] for part in one.parts), "a sum that does not hold"
    small = {place for place, count in enumerate(counts) if rule.is_small(count)}
    hidden = small | implied
    reader = _Reader(counts, sums, rule, implied)
    # Cells hidden for others' sake must stay unknown too, or hiding them would be in vain. What is unknown
    # stays so when more is hidden.
    waiting = sorted(hidden - (implied - small), reverse=True)
    while waiting:
        place = waiting.pop()
        while reader.knows(place, hidden):
            more = _next(place, counts, reader, hidden, implied - small)
            if more is None:
                break
            hidden.add(more)
            waiting.append(more)
    return [
        rule.rounded(count) if place not in hidden else rule.mark if place in small - implied else None
        for place, count in enumerate(counts)
    ]


def _next(
    place: int, counts: Sequence[int], reader: _Reader, hidden: set[int], remainders: frozenset[int]
) -> int | None:
    """The next cell to hide: the smallest shown in reach of `place`, parts before totals, never a zero.

    Sums with a remainder that nobody knows come last: they only bound a cell, and hiding in them is mostly in
    vain.
    """
    reach, seen = {place}, set[Sum]()
    while touched := [one for one in reader.touching(reach) if one not in seen]:
        seen.update(touched)
        found = [
            (any(other in remainders for other in one.cells), cell == one.total, counts[cell], cell)
            for one in touched
            for cell in one.cells
            if cell not in hidden and counts[cell] > 0
        ]
        if found:
            return min(found)[-1]
        reach |= {cell for one in touched for cell in one.cells}
    return None


class _Reader:
    """What somebody can conclude who sees the table: the possible values of a hidden cell."""

    def __init__(
        self, counts: Sequence[int], sums: Sequence[Sum], rule: Rule, implied: frozenset[int]
    ) -> None:
        self.counts = np.asarray(counts, dtype=np.float64)
        self.rule, self.implied = rule, implied
        self.boundless = 2 * float(self.counts.max(initial=0)) + 1000
        """More than any count: what stands for no upper bound where an integer program is solved."""
        self.unknown: set[int] = set()
        """Cells of which another possible value is known."""
        self._of: dict[int, list[Sum]] = {}
        for one in sums:
            for cell in one.cells:
                self._of.setdefault(cell, []).append(one)

    def touching(self, cells: Iterable[int]) -> list[Sum]:
        """The sums that any of the cells is in."""
        return list(dict.fromkeys(one for cell in sorted(cells) for one in self._of.get(cell, ())))

    def knows(self, place: int, hidden: set[int]) -> bool:
        """Whether the cell has one possible value only.

        Another value is looked for near by first, all cells farther off staying what they are: it would be
        possible in the whole table too.
        """
        if place in self.unknown:
            return False
        low, high = self._bounds(hidden)
        reach: set[int] = {place} if low[place] < high[place] else set()
        before: set[int] = set()
        while reach != before:
            before = reach
            sums = self.touching(reach)
            reach = reach | {cell for one in sums for cell in one.cells if low[cell] < high[cell]}
            if self._may_differ(place, low, high, sorted(reach)):
                return False
        return True

    def _bounds(self, hidden: set[int]) -> tuple[np.ndarray, np.ndarray]:
        slack = (self.rule.base - 1) // 2  # what rounding leaves open
        rounded = self.rule.base * np.floor(self.counts / self.rule.base + 0.5)
        low, high = np.maximum(rounded - slack, 0), rounded + slack
        for place in hidden:
            if place in self.implied:
                low[place], high[place] = 0, self.boundless
            elif self.rule.is_small(self.counts[place]):
                low[place], high[place] = 0 if self.rule.zeros else 1, self.rule.least - 1
            else:
                low[place], high[place] = self.rule.least, self.boundless
        return low, high

    def _may_differ(self, place: int, low: np.ndarray, high: np.ndarray, cells: Sequence[int]) -> bool:
        """Whether whole numbers within the bounds satisfy all sums with another value of the cell.

        `cells` may move, all others stay what they are.
        """
        sums, column = self.touching(cells), {cell: number for number, cell in enumerate(cells)}
        matrix, known = np.zeros((max(len(sums), 1), len(cells))), np.zeros(max(len(sums), 1))
        for row, one in enumerate(sums):
            for cell, sign in [(one.total, -1.0), *((part, 1.0) for part in one.parts)]:
                if cell in column:
                    matrix[row, column[cell]] += sign
                else:
                    known[row] -= sign * self.counts[cell]
        chosen, cost = list(cells), np.zeros(len(cells))
        for direction in (1.0, -1.0):
            cost[column[place]] = direction
            found = milp(
                cost,
                integrality=np.ones(len(cells)),
                bounds=Bounds(low[chosen], high[chosen]),  # pyright: ignore[reportArgumentType]
                constraints=LinearConstraint(matrix, known, known),  # pyright: ignore[reportArgumentType]
            )
            # A solution that only holds within the solver's tolerance is none.
            if found.x is None or not np.array_equal(matrix @ np.round(found.x), known):
                continue
            other = np.round(found.x) != self.counts[chosen]
            self.unknown.update(np.asarray(cells)[other].tolist())
            if place in self.unknown:
                return True
        return False
