"""The counts of a table with all the places they stand at, to be hidden together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from claimscale.privacy.suppression import Rule, Sum, protected


class Table:
    """Counts of one table with the places they stand at, and the sums among them."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.places: list[list[tuple[Any, Any]]] = []
        self.sums: list[Sum] = []
        self.implied: set[int] = set()

    def cell(self, holder: Any, key: Any) -> int:
        """A count that stands at `holder[key]`."""
        self.counts.append(int(holder[key]))
        self.places.append([(holder, key)])
        return len(self.counts) - 1

    def also(self, cell: int, holder: Any, *keys: Any) -> None:
        """The same count stands at `holder[key]` too, where there is such a key."""
        for key in keys:
            if holder.get(key) is not None:
                self.places[cell].append((holder, key))

    def implied_cell(self, count: int) -> int:
        """A count that stands nowhere but follows from others."""
        self.counts.append(count)
        self.places.append([])
        self.implied.add(len(self.counts) - 1)
        return len(self.counts) - 1

    def sum(self, total: int, parts: Sequence[int]) -> None:
        """The parts add up to the total; what is missing follows from them and is protected likewise."""
        rest = self.counts[total] - sum(self.counts[part] for part in parts)
        if rest < 0:
            return  # not parts of it after all
        more = [self.implied_cell(rest)] if rest else []
        self.sums.append(Sum(total, (*parts, *more)))

    def settle(self, rule: Rule) -> set[int]:
        """Write the counts as they may be shown to where they stand; returns the cells that are hidden."""
        shown = protected(self.counts, self.sums, rule, frozenset(self.implied))
        for value, places in zip(shown, self.places, strict=True):
            for holder, key in places:
                holder[key] = value
        return {cell for cell, value in enumerate(shown) if not isinstance(value, int)}
