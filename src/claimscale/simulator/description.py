"""What `country/` and `practice.yaml` may say, checked: conditions, habits, the long tail of codes."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from claimscale.config.base import Settings

AGES = 111
"""Ages in whole years, 0 to 110."""

Probability = Annotated[float, Field(ge=0, le=1)]
Month = Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]
"""A month such as 2020-04."""
CodeList = Annotated[list[str], Field(min_length=1)]


class Incidence(Settings):
    """New cases per person-year: `at_70` is that of men, unless `men` says otherwise."""

    at_70: Annotated[float, Field(gt=0)]
    per_decade: Annotated[float, Field(gt=0)]
    men: Annotated[float, Field(ge=0)] = 1.0
    women: Annotated[float, Field(ge=0)]
    from_age: Annotated[int, Field(ge=0, lt=AGES)]
    until_age: Annotated[int, Field(ge=0, lt=AGES)] = AGES - 1


class Condition(Settings):
    """One disease, or one stage of it; the fields are explained in `country/README.md`."""

    incidence: Incidence
    stage_of: str | None = None
    causes: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(default_factory=dict)
    season: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    lasts: Annotated[float, Field(ge=1)] | None = None
    appears: Month | None = None
    diagnoses: CodeList
    coding: Probability = 0.5
    drugs: list[CodeList] = Field(default_factory=list)
    treated: Probability = 0.0
    escalates: Annotated[float, Field(ge=0)] = 0.0
    stops: Annotated[float, Field(ge=0)] = 0.0
    tests: dict[str, Probability] = Field(default_factory=dict)
    care: float = 0.0
    mortality: float = 0.0
    admits: Annotated[float, Field(ge=0)] = 0.0


class Everyday(Settings):
    diagnoses: CodeList
    drugs: CodeList
    tests: CodeList


class Practice(Settings):
    """What is not about one condition: see the comments in `practice.yaml`."""

    rule_outs: dict[str, CodeList]
    everyday: Everyday
    visits: CodeList
    stays: CodeList
    contraindicated: dict[str, CodeList]
    launched: dict[str, Month]
    revisions: dict[Month, dict[str, str]]


@dataclass(frozen=True)
class Description:
    """The country as people wrote it: conditions by name, the department of each, and the practice."""

    conditions: dict[str, Condition]
    departments: dict[str, str]
    practice: Practice


def read() -> Description:
    """Read the package's description of the country.

    Raises ValueError, naming the file and the place, for what the files may not say.
    """
    package = importlib.resources.files("claimscale.simulator")
    conditions, departments = {}, {}
    files = [file for file in package.joinpath("country").iterdir() if file.name.endswith(".yaml")]
    for file in sorted(files, key=lambda file: file.name):
        for name, fields in yaml.safe_load(file.read_text("utf-8")).items():
            if name in conditions:
                raise ValueError(f"{file.name}: {name} is described twice")
            conditions[name] = _checked(Condition, fields, f"{file.name}: {name}")
            departments[name] = file.name.removesuffix(".yaml")
    text = package.joinpath("practice.yaml").read_text("utf-8")
    practice = _checked(Practice, yaml.safe_load(text), "practice.yaml")
    description = Description(conditions, departments, practice)
    _check_references(description)
    return description


def _checked(kind: type, fields: Any, place: str) -> Any:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _check_references(description: Description) -> None:
    """Conditions may name only conditions that exist."""
    named = {
        **{f"{name}: stage_of": [c.stage_of] for name, c in description.conditions.items() if c.stage_of},
        **{f"{name}: causes": list(c.causes) for name, c in description.conditions.items()},
        **{f"contraindicated: {drug}": list_ for drug, list_ in description.practice.contraindicated.items()},
    }
    for place, names in named.items():
        missing = sorted(set(names) - set(description.conditions))
        if missing:
            raise ValueError(f"{place}: there is no condition {', '.join(missing)}")
