"""Constants that several parts of the package share."""

SEXES = ("F", "M", "U")
"""Codes of sex: female, male, unknown."""
DAYS_PER_YEAR = 365.25
