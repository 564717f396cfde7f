"""The schema of `country/` and `practice.yaml`: conditions, medical practice and everyday codes."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from typing import Annotated, TypeVar

import yaml
from pydantic import Field, ValidationError

from claimscale.codes.systems import ADMISSION, DISCHARGE
from claimscale.config.base import Settings

Model = TypeVar("Model", bound=Settings)

FIRST_VISIT, REFERRAL = "KUBUN//A000", "KUBUN//B009"
AGES = 111
"""Number of ages in whole years, 0 to 110."""

Probability = Annotated[float, Field(ge=0, le=1)]
Month = Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]
"""A month such as 2020-04."""
CodeList = Annotated[list[str], Field(min_length=1)]


class Incidence(Settings):
    """New cases per person-year: `at_70` times `men` or `women`."""

    at_70: Annotated[float, Field(gt=0)]
    per_decade: Annotated[float, Field(gt=0)]
    men: Annotated[float, Field(ge=0)] = 1.0
    women: Annotated[float, Field(ge=0)]
    from_age: Annotated[int, Field(ge=0, lt=AGES)]
    until_age: Annotated[int, Field(ge=0, lt=AGES)] = AGES - 1


class Condition(Settings):
    """One disease or stage; `country/README.md` explains the fields."""

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
    """Codes that do not depend on conditions, in order of frequency."""

    diagnoses: CodeList
    drugs: CodeList
    tests: CodeList


class Practice(Settings):
    """Everything that does not belong to one condition; `practice.yaml` explains the fields."""

    rule_outs: dict[str, CodeList]
    everyday: Everyday
    visits: CodeList
    stays: CodeList
    contraindicated: dict[str, CodeList]
    launched: dict[str, Month]
    revisions: dict[Month, dict[str, str]]


@dataclass(frozen=True)
class Description:
    """The description of the country: conditions by name, their departments, and the practice."""

    conditions: dict[str, Condition]
    departments: dict[str, str]
    practice: Practice

    def all_codes(self) -> list[str]:
        """Every code of the country, sorted, so that the order of the files does not matter."""
        conditions, practice = self.conditions.values(), self.practice
        diagnoses = {code for condition in conditions for code in condition.diagnoses}
        diagnoses |= {code for group in practice.rule_outs.values() for code in group}
        drugs = {code for condition in conditions for line in condition.drugs for code in line}
        fees = {code for condition in conditions for code in condition.tests}
        fees |= set(practice.visits) | set(practice.stays) | set(practice.rule_outs)
        codes = {f"ICD10//{code}" for code in diagnoses} | {f"ATC//{code}" for code in drugs}
        codes |= {f"KUBUN//{code}" for code in fees} | set(self.everyday_codes())
        codes |= {code for pairs in practice.revisions.values() for pair in pairs.items() for code in pair}
        return sorted(codes | {ADMISSION, DISCHARGE, FIRST_VISIT, REFERRAL})

    def everyday_codes(self) -> list[str]:
        """Diagnoses, drugs and tests interleaved by rank, so that each kind has frequent and rare codes."""
        everyday = self.practice.everyday
        kinds = {"ICD10": everyday.diagnoses, "ATC": everyday.drugs, "KUBUN": everyday.tests}
        ranked = [
            (rank / len(codes), f"{system}//{code}")
            for system, codes in kinds.items()
            for rank, code in enumerate(codes)
        ]
        return [code for _, code in sorted(ranked)]


def read() -> Description:
    """Read the package's description of the country.

    Raises ValueError, naming the file and the field, for invalid content.
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


def _checked(model: type[Model], fields: object, place: str) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _check_references(description: Description) -> None:
    """Raise ValueError for a reference to an unknown condition."""
    named = {
        **{f"{name}: stage_of": [c.stage_of] for name, c in description.conditions.items() if c.stage_of},
        **{f"{name}: causes": list(c.causes) for name, c in description.conditions.items()},
        **{f"contraindicated: {drug}": list_ for drug, list_ in description.practice.contraindicated.items()},
    }
    for place, names in named.items():
        missing = sorted(set(names) - set(description.conditions))
        if missing:
            raise ValueError(f"{place}: there is no condition {', '.join(missing)}")
