"""What the values of an unknown column look like: days, codes of a system, or one of few values.

Forms are suggestions for a person who knows the data. Reading never guesses: it follows a mapping.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from claimscale import formatting
from claimscale.sources.dates import DateStyle

FEW = 12
"""A column of at most this many values is shown by its values, if each is short and repeated."""
REPEATED = 5
"""Rows of a value that may be shown."""
SAME_FORM = 0.95
"""Share of the filled cells from which a column is said to have a form."""

_DAY, _MONTH, YEARS = r"(0?[1-9]|[12]\d|3[01])", r"(0?[1-9]|1[0-2])", r"(18|19|20|21)\d\d"
_TIME = r"([ T:].*)?"
_YEAR = rf"({YEARS}|9999)"
"""With 9999, which claims write for a time without an end."""
DAYS: dict[DateStyle, str] = {
    "western": rf"{_YEAR}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])|{_YEAR}[-/.]{_MONTH}[-/.]{_DAY}{_TIME}"
    rf"|{_DAY}[- ]?(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[- ]?{_YEAR}{_TIME}",
    "month_first": rf"{_MONTH}[-/.]{_DAY}[-/.]{_YEAR}{_TIME}",
    "day_first": rf"{_DAY}[-/.]{_MONTH}[-/.]{_YEAR}{_TIME}",
    "wareki": r"[1-5]\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "excel": r"[1-5]\d{4}(\.0*)?",
}
WRITTEN_STYLES: tuple[DateStyle, ...] = ("western", "month_first", "day_first", "wareki")
"""The styles that are recognised. Serial numbers of Excel look like any other number."""
MONTH = rf"{YEARS}[-/]?(0[1-9]|1[0-2])"
YEAR = rf"{YEARS}(\.0)?"
CODES = {
    "ATC": r"[A-Z]\d\d[A-Z][A-Z](\d\d)?",
    "ICD10": r"[A-Z]\d[0-9A-Z](\.?[0-9A-Z]{1,4})?[-.]?",
    "ICD9CM": r"(\d{3}|V\d\d)(\.?\d{1,2})?|E\d{3}(\.?\d)?",
    "ICD9PROC": r"\d\d(\.?\d{1,2})?",
    "HCPCS": r"\d{5}|[A-Z]\d{4}|\d{4}[A-Z]",
    "NDC": r"\d{11}|\d{4,5}-\d{3,4}-\d{1,2}",
    "YJ": r"\d{7}[0-9A-Z]\d{4}",
    "KUBUN": r"[A-Z]\d{3}(-\d{1,2})*",
    "DISEASE": r"\d{7}",
    "LOINC": r"\d{1,5}-\d",
}
"""Forms of codes by system; several systems have codes of one form, so that a name must decide."""

LIKE_ANY_NUMBER = ("ICD9CM", "ICD9PROC", "HCPCS", "DISEASE")


@dataclass(frozen=True)
class ColumnForm:
    """A column of a sample.

    Attributes:
        name: in lower case.
        type: as the file declares: `text`, `number`, `date` or `other`.
        rows: cells of the sample.
        counts: the values that are filled, and how often each occurs.
    """

    name: str
    type: str
    rows: int
    counts: Counter[str]

    @classmethod
    def of(cls, name: str, type: str, cells: Sequence[str]) -> ColumnForm:
        counts = Counter(cells)
        del counts[""]
        return cls(name, type, len(cells), counts)

    @cached_property
    def filled(self) -> int:
        return self.counts.total()

    def share(self, form: str) -> float:
        """The share of the filled cells that match a regular expression; 0 for an empty column."""
        pattern = re.compile(form)
        matching = sum(number for value, number in self.counts.items() if pattern.fullmatch(value))
        return matching / self.filled if self.filled else 0.0

    @cached_property
    def date_style(self) -> DateStyle | None:
        """The style in which nearly all values are days; `western` for columns of dates."""
        if self.type == "date":
            return "western"
        for style in WRITTEN_STYLES:
            if self._is(DAYS[style]):
                return style  # of two, as in 1/2/2020, the first
        return None

    @cached_property
    def is_ambiguous(self) -> bool:
        """Whether the days could be read as month first and as day first."""
        return self.date_style == "month_first" and self._is(DAYS["day_first"], 1.0)

    @property
    def is_month(self) -> bool:
        return self._is(MONTH)

    @property
    def is_year(self) -> bool:
        return self._is(YEAR)

    @cached_property
    def systems(self) -> list[str]:
        """The code systems of whose form nearly all values are."""
        return [system for system, form in CODES.items() if self._is(form, 0.9)]

    @property
    def few_values(self) -> list[str]:
        """The values, if few, short and repeated, so that they name no patient; the commonest first."""
        values = [value for value, _ in self.counts.most_common(FEW + 1)]
        return values if 0 < len(values) <= FEW and all(map(self.is_repeated, values)) else []

    def is_repeated(self, value: str) -> bool:
        """Whether a value is short and common."""
        return self.counts[value] >= REPEATED and len(value) <= 20

    @cached_property
    def years(self) -> tuple[int, int] | None:
        """The first and the last year of days, months or years with four digits; without 9999."""
        found = [int(year[0]) for value in self.counts if (year := re.search(YEARS, value))]
        return (min(found), max(found)) if found else None

    def looks_like(self, show_values: bool = False) -> str:
        """The column in a few words. `show_values`: if they are few; names of patients may be few as well.

        >>> from claimscale.sources.column_forms import ColumnForm
        >>> ColumnForm.of("icd", "text", ["N18.9", "I10", "", "E11"]).looks_like()
        'text like ICD10, 3 values, 75 % filled'
        """
        kind = {"date": "days", "number": "numbers"}.get(self.type, "text")
        if self.date_style or self.is_month or self.is_year:
            kind = "days" if self.date_style else "months" if self.is_month else "years"
            kind += f", {'–'.join(map(str, sorted(set(self.years))))}" if self.years else ""
            kind += f" ({self.date_style})" if self.date_style not in (None, "western") else ""
        elif show_values and self.few_values:
            kind = "one of " + ", ".join(self.few_values)
        else:
            telling = [system for system in self.systems if system not in LIKE_ANY_NUMBER]
            kind += f" like {' or '.join(telling)}" if telling else ""
            kind += f", {formatting.count(len(self.counts))} values"
        return f"{kind}, {formatting.rough_percent(self.filled / max(self.rows, 1))} filled"

    def _is(self, form: str, share: float = SAME_FORM) -> bool:
        return self.filled > 0 and self.share(form) >= share


def shape_of(value: str) -> str:
    """The shape of a value that shows none of its letters and digits.

    >>> shape_of("31/12/1950"), shape_of("N18.9"), shape_of("Tanaka 太郎")
    ('99/99/9999', 'A99.9', 'Aaaaaa aa')
    """
    return "".join(map(_sign, value[:24]))


def _sign(character: str) -> str:
    if character.isdigit():
        return "9"
    return ("A" if character.isupper() else "a") if character.isalpha() else character
