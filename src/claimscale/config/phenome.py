"""The section `phenome`: every code group with enough cases as an outcome, without one being written out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from claimscale.config.base import Count, Settings


class Phenome(Settings):
    """Every code group with enough cases as an outcome of its own, predicted without fine-tuning.

    Families of outcomes (diseases, medications, procedures) have a verdict on size each. The horizon is that
    of pretraining. A disease counts in patients who never had it, a medication or procedure in those without
    it in `washout_days`.
    """

    min_cases: Count = 50
    """Fewest test patients with an outcome."""
    levels: dict[str, Count] = {"ICD10": 3, "ICD9CM": 3, "ATC": 4, "YJ": 7}
    """Per code system, the length to which codes are grouped: characters, or levels of ATC; codes of
    other systems are not grouped."""
    washout_days: Count = 365
    """Days before the index date without a medication or procedure that make it new."""
    gap_days: Annotated[int, Field(ge=0)] = 30
    """Days after the index date in which an outcome does not count."""
    min_history_days: Count = 365
    """Fewest days between a patient's first contact and the index date."""
    lightgbm_outcomes: Annotated[int, Field(ge=0)] | Literal["all"] = 40
    """Outcomes for which LightGBM is trained and compared, evenly spaced by training cases; not with
    `labels: scarce`."""
