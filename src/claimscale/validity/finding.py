"""What a check returns, and the arrays that several checks read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


SMALLEST_TOLD = 10


@dataclass(frozen=True)
class Finding:
    """One check of one task (or of the whole study: `task` null): its result, the numbers, one sentence."""

    check: str
    status: Literal["passed", "warned"]
    evidence: Mapping[str, float | None]
    sentence: str
    task: str | None = None

    @property
    def warned(self) -> bool:
        return self.status == "warned"

    def plain(self) -> dict[str, Any]:
        """The finding as JSON holds it: what is not a number is null."""
        evidence = {
            name: None if value is None or not np.isfinite(value) else float(f"{value:.6g}")
            for name, value in self.evidence.items()
        }
        return {
            "check": self.check,
            "task": self.task,
            "status": self.status,
            "evidence": evidence,
            "sentence": self.sentence,
        }


def finding(check: str, problems: list[str], clean: str, evidence: Mapping[str, float | None]) -> Finding:
    """Warned with all problems as one sentence, or passed with the sentence `clean`."""
    if problems:
        return Finding(check, "warned", evidence, "; ".join(problems) + ".")
    return Finding(check, "passed", evidence, clean + ".")


@dataclass(frozen=True)
class Entries:
    """E code entries of n patients, in any order.

    Attributes:
        patient: int [E], place of the patient, 0 to n - 1.
        code: int [E], place of the code in `names`.
        day: int [E], date of the entry, days since 1970-01-01.
        available: int [E], day on which it could be known.
        names: the C codes.
    """

    patient: Ints
    code: Ints
    day: Ints
    available: Ints
    names: tuple[str, ...]

    def where(self, chosen: Bools) -> Entries:
        return Entries(
            self.patient[chosen], self.code[chosen], self.day[chosen], self.available[chosen], self.names
        )


def part(count: float, total: float) -> str:
    """How many of a whole, for reading; small counts of patients are never told.

    >>> part(120, 1000), part(3, 1000)
    ('12 %', 'fewer than 10')
    """
    return "fewer than 10" if count < SMALLEST_TOLD else percent(share(count, total))


def share(count: float, total: float) -> float:
    return count / total if total else 0.0


def percent(value: float) -> str:
    """A share for reading.

    >>> percent(0.1234), percent(0.0004)
    ('12 %', '0.04 %')
    """
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.0f} %"
