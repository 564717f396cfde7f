"""Whether the codes of a task occur in the claims at all: a misspelt code system would make nobody a case."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from claimscale.codes.systems import SEPARATOR, SYSTEMS, full_prefixes, meant, split
from claimscale.config.base import Codes
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.errors import BadInput

LIKE_CODES = 3
"""Characters in common from which codes of two systems may be the same code."""


def refuse_absent_outcomes(tasks: Sequence[Task], codes: Collection[str]) -> None:
    """Raise BadInput for a misspelt code system, and for tasks whose outcome codes no event has.

    `codes` are the distinct codes of all events. The message names the nearest code that occurs.
    """
    systems = {split(code)[0] for code in codes}
    absent: list[Task] = []
    for task in (task for task in tasks if task.labels is None):
        for misspelt in misspelt_systems(task, systems):
            raise BadInput(misspelt)
        prefixes = full_prefixes(task.outcome)
        if not any(code.startswith(prefixes) for code in codes):
            absent.append(task)
    if absent:
        first, others = absent[0], [task.name for task in absent[1:]]
        also = f"; nor has any event an outcome code of {', '.join(others)}" if others else ""
        nearest = _nearest(first.outcome, codes)
        shown, ndc = ", ".join(full_prefixes(first.outcome)), first.outcome.get("NDC", ())
        raise BadInput(
            f"tasks.{first.name}.outcome: no event has a code that starts with {shown}"
            + ("; NDC codes are digits without dashes" if any("-" in one for one in ndc) else "")
            + (f"; the nearest that occurs is {nearest}" if nearest else _systems_of(first.outcome, codes))
            + also
        )


def refuse_misspelt_systems(study: Study) -> None:
    """Raise BadInput for a code system by another name, in a source whose systems are named here."""
    if study.source.kind in ("meds", "omop"):
        return  # their codes bring the names of their systems
    for task in (task for task in study.tasks if task.labels is None):
        for misspelt in misspelt_systems(task):
            raise BadInput(misspelt)


def misspelt_systems(task: Task, used: Collection[str] = ()) -> list[str]:
    """A line for each code system of the task that is a known one, or one of `used`, in another spelling."""
    found = [
        (f"tasks.{task.name}.{setting}: {system}", system in SYSTEMS, other)
        for setting, listed in _settings_with_codes(task)
        for system in listed
        if (other := respelt(system, used)) is not None
    ]
    return [
        f"{place} is {'in no event' if is_known else 'no code system'}; the nearest is {other}"
        for place, is_known, other in found
    ]


def absent_codes(task: Task, codes: Collection[str]) -> list[str]:
    """The rules of the task with codes that no event has, the outcome left out, as text."""
    if task.labels is not None:
        return []
    return [
        f"{setting} ({', '.join(prefixes)})"
        for setting, listed in _settings_with_codes(task)
        if setting != "outcome"
        if (prefixes := full_prefixes(listed))
        if not any(code.startswith(prefixes) for code in codes)
    ]


def respelt(system: str, used: Collection[str] = ()) -> str | None:
    """The code system of the claims (`used`), or else the known one, that differs in case and signs only.

    Without `used`, also the known system by another name. None for a system that the claims use, and for one
    that has no such neighbour.

    >>> respelt("icd-10"), respelt("ICD10"), respelt("ICD10", {"icd-10"}), respelt("SNOMED", {"SNOMED"})
    ('ICD10', None, 'icd-10', None)
    """
    known = () if system in SYSTEMS else SYSTEMS
    others = [] if system in used else [*sorted(used), *known]
    respelt_name = next((name for name in others if name and _plain(name) == _plain(system)), None)
    return respelt_name if respelt_name or used else meant(system)


def _plain(system: str) -> str:
    return re.sub(r"[\W_]", "", system).casefold()


def _settings_with_codes(task: Task) -> Iterator[tuple[str, Codes]]:
    yield "outcome", task.outcome
    yield "confirmation_codes", task.confirmation_codes
    yield "hidden_codes", task.hidden_codes
    for number, exclusion in enumerate(task.exclude):
        yield f"exclude.{number}.codes", exclusion.codes


def _systems_of(outcome: Codes, codes: Collection[str]) -> str:
    """The code systems of the claims, where the outcome is a code of a system."""
    if not any(SEPARATOR in prefix for prefix in full_prefixes(outcome)):
        return ""
    found = Counter(code.partition(SEPARATOR)[0] for code in codes if SEPARATOR in code)
    shown = ", ".join(f"{name} {number:,}" for name, number in found.most_common(4))
    return f"; codes by system: {shown}" if shown else ""


def _nearest(outcome: Codes, codes: Collection[str]) -> str | None:
    """The code that shares most of its beginning with an outcome code, of the same system where it occurs.

    None if it has less than LIKE_CODES in common, which helps nobody.
    """
    wanted = [split(prefix) for prefix in full_prefixes(outcome) if SEPARATOR in prefix]

    def likeness(code: str) -> tuple[bool, int, float, int]:
        system, value = split(code)
        return max(
            (
                _plain(system) == _plain(name),
                _shared(value.replace(".", ""), prefix),
                difflib.SequenceMatcher(None, _plain(system), _plain(name)).ratio(),
                -len(value),
            )
            for name, prefix in wanted
        )

    found = [code for code in sorted(codes) if SEPARATOR in code]
    if not wanted or not found:
        return None
    nearest = max(found, key=likeness)
    same_system, shared, *_ = likeness(nearest)
    return nearest if shared >= (1 if same_system else LIKE_CODES) else None


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))
