"""The language of clinical questions: who is asked, when, and what then counts as an answer (docs/tasks.md).

Whatever decides that somebody is asked must be known on the index date. A setting that would look further is
refused here, with the reason.
"""

from __future__ import annotations

import datetime as dt
import importlib.resources
import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from claimscale.config.base import Codes, Count, Settings

IMMORTAL = "the future would decide who is asked (immortal time)"
LOOKS_AHEAD = re.compile(r"follow|observ|later|after|ahead|future|surviv|alive|subsequent|next_")
"""Words in the names of conditions that people put on the time after the index date."""
BESIDE_LABELS = {"name", "kind", "labels", "hidden_codes", "source"}
"""All that may be said of a task whose labels were made elsewhere."""


class Rules(Settings):
    """Settings that say who is asked; a key that names the future is refused with the reason."""

    @model_validator(mode="before")
    @classmethod
    def asks_nothing_of_the_future(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key not in cls.model_fields and LOOKS_AHEAD.search(str(key)):
                raise ValueError(
                    f"{key}: would ask something of the time after the index date: {IMMORTAL}; "
                    "labels.json counts who was lost before the window's end"
                )
        return value


class Exclusion(Rules):
    """Codes that keep a patient from being asked, if one was given in the window and known by the index date.

    The window is the `look_back_days` before the index date (all history if null), up to `window_end_days` from
    it: -30 leaves the last 30 days out.
    """

    codes: Codes
    look_back_days: int | None = None
    window_end_days: int = 0

    @field_validator("window_end_days")
    @classmethod
    def ends_by_the_index_date(cls, value: int) -> int:
        if value > 0:
            raise ValueError(f"{value} reaches {value} days past the index date: {IMMORTAL}")
        return value

    @model_validator(mode="after")
    def has_codes_and_days(self) -> Exclusion:
        if not any(self.codes.values()):
            raise ValueError("codes: names no codes")
        if self.look_back_days is not None and self.look_back_days <= -self.window_end_days:
            raise ValueError(f"look_back_days: {self.look_back_days} leaves no day before window_end_days")
        return self


class Task(Rules):
    """One clinical question: will the outcome come, within the horizon, after the index date?

    Days count from the index date: the outcome's first code must lie in `(gap, gap + horizon]`, and in a
    later calendar month than the index date, because claims carry months.
    Patients with an outcome code in the `washout` before it (all history if null) are left out.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    kind: Literal["disease", "medication"]
    outcome: Codes = {}
    confirmation_days: Annotated[int, Field(ge=1)] | None = None
    """A second outcome code at least this many days after the first makes it count; null asks for none."""
    confirmation_codes: Codes = {}
    """Drugs or procedures that confirm a single outcome code, from 30 days before it onwards."""
    exclude: list[Exclusion] = []
    washout_days: int | None = None
    gap_days: int = 30
    horizon_days: Count = 365
    min_history_days: int = 365
    index: Literal["landmark", "every_visit"] = "landmark"
    """`landmark`: the last contact before it. `every_visit`: dates on which something became known, the first
    of each month from `first_index_date` to the landmark; outside training one of them per patient."""
    first_index_date: dt.date | None = None
    hidden_codes: Codes = {}
    """Codes that only follow the outcome: never shown to a model."""
    labels: str | None = None
    """A file of labels made elsewhere (MEDS label schema), in place of all the rules above."""
    source: str = ""
    """Where the definition comes from."""

    @field_validator("gap_days")
    @classmethod
    def gap_is_ahead(cls, value: int) -> int:
        if value < 0:
            raise ValueError(f"{value} would count as predicted what is known already: the gap is 0 or more")
        return value

    @field_validator("min_history_days")
    @classmethod
    def history_is_past(cls, value: int) -> int:
        if value < 0:
            raise ValueError(f"{value} would ask for time in sight after the index date: {IMMORTAL}")
        return value

    @field_validator("washout_days")
    @classmethod
    def washout_is_past(cls, value: int | None) -> int | None:
        if value is not None and value < 0:
            raise ValueError(f"{value} would reach past the index date: {IMMORTAL}")
        if value == 0:
            raise ValueError("0 leaves no washout: people who have the outcome already would be asked")
        return value

    @model_validator(mode="after")
    def is_whole(self) -> Task:
        if self.labels is not None:
            for name, field in type(self).model_fields.items():
                if name not in BESIDE_LABELS and getattr(self, name) != field.default:
                    raise ValueError(f"{name}: has no effect beside labels: the file says who is asked when")
            return self
        if not any(self.outcome.values()):
            raise ValueError("outcome has no codes")
        if (self.index == "every_visit") != (self.first_index_date is not None):
            raise ValueError("first_index_date: index: every_visit needs it, and nothing else does")
        return self


def catalogue() -> dict[str, dict[str, Any]]:
    """The task catalogue as plain data, by name."""
    text = importlib.resources.files("claimscale.config").joinpath("catalogue.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def catalogue_task(name: str) -> dict[str, Any]:
    known = catalogue()
    if name not in known:
        raise ValueError(f"{name!r} is not in the task catalogue ({', '.join(sorted(known))})")
    return {"name": name, **known[name]}
