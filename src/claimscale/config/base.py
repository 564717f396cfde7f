"""The base class of all settings, and the types of numbers and codes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _read_exponent(value: object) -> object:
    """A number with an exponent and no dot, such as 1e-3, which YAML 1.1 reads as text."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


Number = Annotated[float, BeforeValidator(_read_exponent), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]
Share = Annotated[Number, Field(gt=0, le=1)]
Count = Annotated[int, Field(gt=0)]


def _distinct(seeds: list[int]) -> list[int]:
    """Two runs with one seed are the same run: counted twice, they would look like no variance."""
    if len(set(seeds)) != len(seeds):
        raise ValueError("a seed is listed twice")
    return seeds


Seed = Annotated[int, Field(ge=0)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
Codes = dict[str, list[str]]
"""Code prefixes per code system, for example `{"ICD10": ["N18"]}`; codes without dots."""


class Settings(BaseModel):
    """Settings are frozen and strictly typed, and unknown keys are errors.

    The docstring of each attribute is its description in the reference of settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)
