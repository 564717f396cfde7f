"""The table of questions: its numbers are those of the labels, and small ones follow the privacy profile."""

from __future__ import annotations

from typing import Any

import pytest

from claimscale.config.study import Study
from claimscale.report.question_text import questions_text


def text(profile: str, **positives: int) -> list[str]:
    study = Study.model_validate(
        {
            "name": "x",
            "source": {"kind": "simulated"},
            "cohort": {"landmark": "2020-10-01"},
            "sizes": ["80k"],
            "tasks": ["ckd"],
            "privacy": {"profile": profile},
        },
        strict=False,
    )
    splits = {name: {"n": 1000, "patients": 1000, "positives": n} for name, n in positives.items()}
    excluded = {"dead": 1200, "no_recent_contact": 4, "excluded_code": 0}
    labels: dict[str, Any] = {"ckd": {"splits": splits, "excluded": excluded, "insufficient_data": None}}
    row = questions_text(study, labels, ["ICD10//N189"]).splitlines()[1]
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


def test_all_counts_are_shown_without_a_profile() -> None:
    found = text("none", train=1234, tuning=40, held_out=9)
    assert found == ["ckd", "3,000", "1,283", "1,234", "40", "9", "1,200 dead, 4 no recent contact"]


@pytest.mark.parametrize("profile", ["ndb", "cms", "acro", "opensafely"])
def test_no_small_count_can_be_read_or_computed(profile: str) -> None:
    found = text(profile, train=500, tuning=40, held_out=6)
    hidden = [place for place, cell in enumerate(found[1:6]) if not cell.replace(",", "").isdigit()]
    assert found[5].startswith("<") and found[6].endswith(" no recent contact") and ", <" in found[6]
    if profile != "opensafely":  # which rounds all counts
        assert len(hidden) > 1, "the total minus the other splits is the small one"
