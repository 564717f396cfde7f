"""The `tasks` section: prediction tasks, and the catalogue of tasks (docs/tasks.md).

Eligibility depends only on what is known on the index date. A setting that depends on the future is refused
here, with the reason (immortal time).
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import importlib.resources
import re
from typing import Annotated, Literal, cast

from pydantic import Field, field_validator, model_validator

from claimscale.config.base import Codes, Count, Settings
from claimscale.config.yaml_files import read_mapping
from claimscale.constants import DEATH

IMMORTAL = "eligibility would depend on the future (immortal time)"
LOOKS_AHEAD = re.compile(r"follow|observ|later|after|ahead|future|surviv|alive|subsequent|next_")
"""Words in the names of conditions on the time after the index date."""
WITH_LABEL_FILE = {"name", "kind", "labels", "hidden_codes", "source"}
"""The settings of a task whose labels are in a file."""


class EligibilityRules(Settings):
    """Settings that decide eligibility; a key that names the future is refused with the reason."""

    @model_validator(mode="before")
    @classmethod
    def refuse_the_future(cls, value: object) -> object:
        for key in cast("dict[object, object]", value) if isinstance(value, dict) else ():
            if key not in cls.model_fields and LOOKS_AHEAD.search(str(key)):
                raise ValueError(
                    f"{key}: is a condition on the time after the index date: {IMMORTAL}; "
                    "labels.json counts the patients who are censored"
                )
        return cast("object", value)


class Exclusion(EligibilityRules):
    """Codes that exclude a patient if one is in the window and known by the index date."""

    codes: Codes
    """Code prefixes per code system that exclude a patient."""
    look_back_days: int | None = None
    """Days before the index date at which the window starts; null for the whole history."""
    window_end_days: int = 0
    """Day on which the window ends, relative to the index date; -30 ignores the last 30 days."""

    @field_validator("window_end_days")
    @classmethod
    def ends_by_the_index_date(cls, value: int) -> int:
        if value > 0:
            raise ValueError(f"{value} is {value} days past the index date: {IMMORTAL}")
        return value

    @model_validator(mode="after")
    def has_codes_and_days(self) -> Exclusion:
        if not any(self.codes.values()):
            raise ValueError("codes: names no codes")
        if self.look_back_days is not None and self.look_back_days <= -self.window_end_days:
            raise ValueError(f"look_back_days: {self.look_back_days} leaves no day before window_end_days")
        return self


class Task(EligibilityRules):
    """A prediction task: does the outcome occur within the horizon after the index date?

    Days count from the index date. The first outcome code must be in `(gap, gap + horizon]`, and in a later
    calendar month than the index date, because many claims carry months only.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Name of the task."""
    kind: Literal["disease", "medication", "other"]
    """Kind of the outcome: onset of a disease, start of a medication, or another one, such as death."""
    outcome: Codes = {}
    """Code prefixes per code system that define the outcome, or `MEDS_DEATH`; suspected diagnoses never
    count."""
    confirmation_days: Annotated[int, Field(ge=1)] | None = None
    """Fewest days from the first outcome code to a second one that confirms it; null needs no second one."""
    confirmation_codes: Codes = {}
    """Drugs or procedures that confirm a single outcome code, from 30 days before it onwards."""
    exclude: list[Exclusion] = []
    """Codes that exclude patients."""
    washout_days: int | None = None
    """Days before the index date in which an outcome code excludes a patient; null for the whole history."""
    gap_days: int = 30
    """Days after the index date in which an outcome does not count."""
    horizon_days: Count = 365
    """Days after the gap in which an outcome counts."""
    min_history_days: int = 365
    """Fewest days between a patient's first claim and the index date."""
    index: Literal["landmark", "every_visit"] = "landmark"
    """Index dates: the landmark (with `labels: all_dates` earlier dates of training patients as well), or the
    first contact of each month from `first_index_date` to it (one per patient outside training)."""
    first_index_date: dt.date | None = None
    """Earliest index date with `index: every_visit`."""
    hidden_codes: Codes = {}
    """Codes that only follow the outcome; no model sees them."""
    labels: str | None = None
    """File of labels in the MEDS label schema, which replaces all the rules above."""
    source: str = ""
    """Reference for the definition."""

    @field_validator("outcome", mode="before")
    @classmethod
    def read_death(cls, value: object) -> object:
        names = list(cast("dict[object, object]", value)) if isinstance(value, dict) else [value]
        return {"": [DEATH]} if names == [DEATH] else cast("object", value)

    @field_validator("gap_days")
    @classmethod
    def gap_is_ahead(cls, value: int) -> int:
        if value < 0:
            raise ValueError(f"{value} would predict what is already known: the gap is 0 or more")
        return value

    @field_validator("min_history_days")
    @classmethod
    def history_is_past(cls, value: int) -> int:
        if value < 0:
            raise ValueError(f"{value} would require observation after the index date: {IMMORTAL}")
        return value

    @field_validator("washout_days")
    @classmethod
    def washout_is_past(cls, value: int | None) -> int | None:
        if value is not None and value < 0:
            raise ValueError(f"{value} would extend past the index date: {IMMORTAL}")
        if value == 0:
            raise ValueError("0 leaves no washout: prevalent cases would be eligible")
        return value

    @model_validator(mode="after")
    def is_complete(self) -> Task:
        if self.labels is not None:
            for name, field in type(self).model_fields.items():
                if name not in WITH_LABEL_FILE and getattr(self, name) != field.default:
                    raise ValueError(f"{name}: has no effect with labels: the file decides eligibility")
            return self
        if not any(self.outcome.values()):
            raise ValueError("outcome has no codes")
        if (self.index == "every_visit") != (self.first_index_date is not None):
            raise ValueError("first_index_date: index: every_visit needs it, and nothing else does")
        return self


@functools.cache
def catalogue() -> dict[str, Task]:
    """The task catalogue, by name."""
    file = importlib.resources.files("claimscale.config").joinpath("catalogue.yaml")
    return {name: Task(name=name, **rules) for name, rules in read_mapping(file).items()}


def catalogue_task(name: str) -> Task:
    """A task of the catalogue. Raises ValueError for an unknown name."""
    known = catalogue()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]}?" if near else ", ".join(sorted(known))
        raise ValueError(f"{name!r} is not in the task catalogue ({meant})")
    return known[name]
