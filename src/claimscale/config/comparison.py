"""The sections `baselines`, `search` and `compare`: what encoders are compared with, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from claimscale.config.base import Count, Fraction, Settings

Baseline = Literal[
    "lightgbm",
    "logistic",
    "outcome_history",
    "lightgbm_embeddings",
    "lightgbm_counts_and_embeddings",
    "ensemble",
]
"""Models that are compared with the fine-tuned encoders, on identical patients.

`lightgbm` and `logistic` (elastic net) use counts of codes. `outcome_history` uses only earlier codes of the
outcome itself, age and sex. `lightgbm_embeddings` uses the frozen embeddings of the pretrained encoder, and
`lightgbm_counts_and_embeddings` both. `ensemble` averages the fine-tuned encoder and LightGBM.
"""

RecipeName = Literal[
    "paper",
    "behrt",
    "med_bert",
    "cehr_bert",
    "hi_behrt",
    "transformehr",
    "motor",
    "causal",
    "everyquery",
]
"""Published recipes; each trains models of its own on the same patients (docs/recipes.md)."""

USES_EMBEDDINGS: frozenset[str] = frozenset({"lightgbm_embeddings", "lightgbm_counts_and_embeddings"})
"""Baselines that need a pretrained encoder."""

NEEDS_LARGEST_ENCODER: frozenset[str] = USES_EMBEDDINGS | {"ensemble"}
"""Baselines that are built on the largest encoder."""


class Search(Settings):
    """Hyperparameter search of the baselines, on the log loss of the tuning split."""

    n_trials: Count = 20
    """Number of hyperparameter settings tried for each baseline."""


class Compare(Settings):
    """How sizes are compared: a size is sufficient if every larger size gains less than the margin."""

    metric: Literal["auprc", "auroc"] = "auprc"
    """Metric of the comparison."""
    relative_margin: Fraction = 0.02
    """Smallest gain that counts, as a share of the largest size's metric."""
    bootstrap_replicates: Annotated[int, Field(ge=100)] = 2000
    """Number of bootstrap replicates of the test patients."""
    stopping: Literal["never", "futility"] = "never"
    """`futility` trains sizes in ascending order and omits those whose forecast gain is below the margin."""
