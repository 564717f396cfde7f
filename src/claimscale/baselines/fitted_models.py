"""Fitted baselines and their files: columns of the features, and a linear model or boosted trees on them.

Numbers are written as decimal text from which the same bits are read. No file is code: there is no pickle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse as sparse
from scipy.special import expit

from claimscale.artifacts import read_json, write_json
from claimscale.errors import BadInput

if TYPE_CHECKING:
    import lightgbm

MODEL, TREES = "model.json", "trees.txt"
"""The files of a fitted baseline; only boosted trees have the second."""


class FittedModel(Protocol):
    """A fitted baseline on features float32 [n, p], sparse."""

    def predict(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Probabilities, float64 [n]."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model's files into the folder."""
        ...


@dataclass(frozen=True)
class LinearModel:
    """A logistic regression on the columns int64 [k]: `coefficient` float64 [k], and `intercept`."""

    columns: np.ndarray
    coefficient: np.ndarray
    intercept: float

    def log_odds(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Log odds, float64 [n]."""
        return np.asarray(matrix[:, self.columns] @ self.coefficient + self.intercept)

    def predict(self, matrix: sparse.csr_matrix) -> np.ndarray:
        return expit(self.log_odds(matrix))

    def save(self, folder: Path) -> None:
        numbers = {
            "columns": self.columns.tolist(),
            "coefficient": self.coefficient.tolist(),
            "intercept": float(self.intercept),
        }
        write_json(folder / MODEL, {"kind": "linear", **numbers})


@dataclass(frozen=True)
class TreeModel:
    """Boosted trees of LightGBM on the columns int64 [k]."""

    columns: np.ndarray
    booster: lightgbm.Booster
    threads: int = 1

    def predict(self, matrix: sparse.csr_matrix) -> np.ndarray:
        return np.asarray(self.booster.predict(matrix[:, self.columns], num_threads=self.threads))

    def save(self, folder: Path) -> None:
        write_json(folder / MODEL, {"kind": "lightgbm", "columns": self.columns.tolist()})
        (folder / TREES).write_text(self.booster.model_to_string(), "utf-8")


def load(folder: Path) -> LinearModel | TreeModel:
    """Read what `save` wrote. Raises BadInput for a file that is not such a model."""
    try:
        content = read_json(folder / MODEL)
        columns = np.array(content["columns"], np.int64)
        if content["kind"] == "linear":
            return _linear(content, columns)
        if content["kind"] == "lightgbm":
            return _trees(folder / TREES, columns)
        raise ValueError("unknown kind")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder / MODEL}: is not a fitted baseline ({str(error).splitlines()[0]})") from None


def _linear(content: dict[str, Any], columns: np.ndarray) -> LinearModel:
    coefficient = np.array(content["coefficient"], np.float64)
    if coefficient.shape != columns.shape:
        raise ValueError("columns and coefficients differ in number")
    return LinearModel(columns, coefficient, float(content["intercept"]))


def _trees(file: Path, columns: np.ndarray) -> TreeModel:
    import lightgbm  # loads scikit-learn, which takes most of a second: encoders do without

    text = file.read_text("utf-8")
    if not text.startswith("tree\n"):
        raise ValueError(f"{file.name} holds no trees")
    try:
        booster = lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise ValueError(str(error)) from None
    if booster.num_feature() != len(columns):
        raise ValueError(f"{file.name} has {booster.num_feature()} columns, not {len(columns)}")
    return TreeModel(columns, booster)
