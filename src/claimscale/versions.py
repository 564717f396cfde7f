"""The version of each stage and each kind of cell.

A stage or cell is stale when its version, settings or inputs have changed. Source code is not compared: a new
docstring, a refactoring or an upgrade that changes no output recomputes nothing. A change of an output raises
its number here; golden outputs (`tests/golden`) fail when that is forgotten.
"""

from __future__ import annotations

VERSIONS: dict[str, int] = {
    # Data stages, in order.
    "events": 1,
    "cohort": 2,
    "tokens": 1,
    "labels": 1,
    "oracle": 1,
    # Kinds of cells.
    "pretrain": 1,
    "sweep": 1,
    "finetune": 1,
    "lightgbm": 1,
    "logistic": 1,
    "outcome_history": 1,
    "lightgbm_embeddings": 1,
    "lightgbm_counts_and_embeddings": 1,
    "ensemble": 1,
    # Results.
    "validity": 1,
    "summary": 1,
    "report": 1,
}
