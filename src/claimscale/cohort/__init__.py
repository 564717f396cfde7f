"""The cohort: selection, splits, description."""
