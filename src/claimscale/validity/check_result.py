"""The result of a check, and the arrays that several checks read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from claimscale.findings import Finding, finding, sentences

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]

MIN_SHOWN = 10
"""Smaller counts of patients are not shown in findings."""


@dataclass(frozen=True)
class CheckResult:
    """One check of one task, or of the whole study (`task` is None)."""

    check: str
    status: Literal["passed", "warned"]
    evidence: Mapping[str, float | None]
    finding: Finding
    task: str | None = None

    @property
    def warned(self) -> bool:
        return self.status == "warned"

    def plain(self) -> dict[str, object]:
        """The result for JSON; numbers that are not finite are null."""
        evidence = {
            name: None if value is None or not np.isfinite(value) else float(f"{value:.6g}")
            for name, value in self.evidence.items()
        }
        return {
            "check": self.check,
            "task": self.task,
            "status": self.status,
            "evidence": evidence,
            "finding": self.finding.model_dump(),
        }


def check_result(
    check: str, problems: list[Finding], clean: Finding, evidence: Mapping[str, float | None]
) -> CheckResult:
    """Warned with all problems, or passed with the finding `clean` if there are none."""
    if problems:
        return CheckResult(check, "warned", evidence, sentences(problems))
    return CheckResult(check, "passed", evidence, clean)


@dataclass(frozen=True)
class Entries:
    """E code entries of n patients, in any order.

    Attributes:
        patient: int [E], position of the patient, 0 to n - 1.
        code: int [E], position of the code in `names`.
        day: int [E], date of the entry, days since 1970-01-01.
        available: int [E], day on which the entry became known.
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


def part(count: float, total: float) -> Finding | float:
    """A number of patients as a share, for a finding; small counts are not shown.

    >>> part(120, 1000), part(3, 1000).text
    (0.12, 'fewer than 10')
    """
    return finding("number.fewer_than", n=MIN_SHOWN) if count < MIN_SHOWN else share(count, total)


def share(count: float, total: float) -> float:
    """The count as a share of the total; 0 for a total of 0."""
    return count / total if total else 0.0
