"""Counts with their paths in the summary, and the sums among them, to be suppressed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from pydantic import BaseModel

from claimscale.privacy.suppression import Rule, Shown, Sum, suppress_cells
from claimscale.summary.entries import Count

Path = tuple[str | int, ...]
"""Field names, dictionary keys and positions from the root of the summary to a value."""
Content = TypeVar("Content")


class CountTable:
    """Counts, the paths where each of them is shown, and the sums among them."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.paths: list[list[Path]] = []
        self.sums: list[Sum] = []
        self.implied: set[int] = set()

    def cell(self, count: Count, *path: str | int) -> int:
        """A count that is shown at this path. Returns its cell."""
        assert isinstance(count, int), f"{path}: the count is suppressed already"
        self.counts.append(count)
        self.paths.append([path])
        return len(self.counts) - 1

    def also(self, cell: int, *path: str | int) -> None:
        """The same count is shown at another path."""
        self.paths[cell].append(path)

    def implied_cell(self, count: int) -> int:
        """A count that is not shown but follows from others."""
        self.counts.append(count)
        self.paths.append([])
        self.implied.add(len(self.counts) - 1)
        return len(self.counts) - 1

    def sum(self, total: int, parts: Sequence[int]) -> None:
        """The parts add up to the total. A remainder follows from them, and is protected as well."""
        rest = self.counts[total] - sum(self.counts[part] for part in parts)
        if rest < 0:
            return  # Not parts of this total.
        remainder = [self.implied_cell(rest)] if rest else []
        self.sums.append(Sum(total, (*parts, *remainder)))

    def suppress(self, rule: Rule) -> tuple[dict[Path, Shown], set[int]]:
        """The counts to show, by path; and the cells that are suppressed."""
        shown = suppress_cells(self.counts, self.sums, rule, frozenset(self.implied))
        by_path = {path: count for count, paths in zip(shown, self.paths, strict=True) for path in paths}
        return by_path, {cell for cell, count in enumerate(shown) if not isinstance(count, int)}


def replaced(content: Content, values: Mapping[Path, object]) -> Content:
    """A copy of nested models, dictionaries and tuples with these values at their paths."""
    if () in values:
        return cast(Content, values[()])
    nested: dict[str | int, dict[Path, object]] = {}
    for path, value in values.items():
        nested.setdefault(path[0], {})[path[1:]] = value
    if isinstance(content, BaseModel):
        update = {str(name): replaced(getattr(content, str(name)), inner) for name, inner in nested.items()}
        return content.model_copy(update=update)
    if isinstance(content, tuple):
        items = enumerate(cast("tuple[object, ...]", content))
        return cast(Content, tuple(replaced(one, nested.get(place, {})) for place, one in items))
    if isinstance(content, dict):
        entries = cast("dict[str, object]", content)
        return cast(Content, {key: replaced(one, nested.get(key, {})) for key, one in entries.items()})
    return content
