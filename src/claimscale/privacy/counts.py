"""The counts of a table with all their places in the summary, to be suppressed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from claimscale.privacy.suppression import Rule, Sum, suppress_cells


class Table:
    """Counts of one table, their places in the summary, and the sums among them."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.places: list[list[tuple[Any, Any]]] = []
        self.sums: list[Sum] = []
        self.implied: set[int] = set()

    def cell(self, holder: Any, key: Any) -> int:
        """Add the count at `holder[key]`; returns its cell."""
        self.counts.append(int(holder[key]))
        self.places.append([(holder, key)])
        return len(self.counts) - 1

    def also(self, cell: int, holder: Any, *keys: Any) -> None:
        """The same count is at `holder[key]` too, if there is such a key."""
        for key in keys:
            if holder.get(key) is not None:
                self.places[cell].append((holder, key))

    def sum(self, total: int, parts: Sequence[int]) -> None:
        """The parts add up to the total; a remainder follows from them and is protected in the same way."""
        rest = self.counts[total] - sum(self.counts[part] for part in parts)
        if rest < 0:
            return  # the parts are not subsets of the total
        more = ()
        if rest:
            more = (len(self.counts),)
            self.counts.append(rest)
            self.places.append([])
            self.implied.update(more)
        self.sums.append(Sum(total, (*parts, *more)))

    def suppress(self, rule: Rule) -> set[int]:
        """Replace the counts in the summary by what may be shown; returns the hidden cells."""
        shown = suppress_cells(self.counts, self.sums, rule, frozenset(self.implied))
        for value, places in zip(shown, self.places, strict=True):
            for holder, key in places:
                holder[key] = value
        return {cell for cell, value in enumerate(shown) if not isinstance(value, int)}
