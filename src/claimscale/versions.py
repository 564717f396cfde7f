"""The version of each stage and each kind of cell.

A stage or cell is stale when its version, settings or inputs have changed. Source code is not compared: a new
docstring, a refactoring or an upgrade that changes no output recomputes nothing. A change of an output raises
its number here; golden outputs (`tests/golden`) fail when that is forgotten.
"""

from __future__ import annotations

VERSIONS: dict[str, int] = {
    # Data stages, in order.
    "events": 3,
    "cohort": 2,
    "tokens": 2,
    "labels": 3,
    "oracle": 3,
    # Kinds of cells.
    "pretrain": 5,
    "sweep": 5,
    "phenome": 3,
    "phenome_lightgbm": 2,
    "finetune": 5,
    "lightgbm": 3,
    "logistic": 3,
    "outcome_history": 3,
    "lightgbm_embeddings": 4,
    "lightgbm_counts_and_embeddings": 4,
    "ensemble": 3,
    "recipe_pretrain": 1,
    "recipe": 1,
    # Results.
    "validity": 2,
    "summary": 9,
    "report": 13,
}
