"""What all settings are made of: frozen models that refuse unknown keys, and numbers with their bounds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _read_exponent(value: Any) -> Any:
    """YAML 1.1 takes 1e-3, without a dot, for text; people mean the number."""
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value)
    return float(value) if is_number else value


Number = Annotated[float, BeforeValidator(_read_exponent)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]
Count = Annotated[int, Field(gt=0)]
Codes = dict[str, list[str]]
"""Code prefixes per code system, for example `{"ICD10": ["N18"]}`; codes without dots."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
