"""Constants that several parts of the package share."""

from typing import Literal

DEATH = "MEDS_DEATH"
"""The code of a death, which has no code system."""
SEXES = ("F", "M", "U")
"""Codes of sex: female, male, unknown."""
DAYS_PER_YEAR = 365.25
MICROSECONDS_PER_DAY = 86_400_000_000

Scope = Literal["recipe", "trained_models"]
"""What a verdict holds for: models trained again by the same recipe, or the trained models alone."""
SizeVerdict = Literal["saturated", "not_saturated", "inconclusive"]
Reason = Literal[
    "no_encoder",
    "one_size",
    "one_seed",
    "few_positives",
    "not_above_chance",
    "non_monotone",
    "underpowered",
    "borderline",
]
"""Why a verdict on size is inconclusive."""
