"""Calibration of a package's risks on the tuning patients: a map of log odds, and intervals.

The map is none, a line (Platt 1999) or a monotone step function (isotonic), whichever has the lowest log-loss
in cross-validation. The intervals are those of Venn-Abers prediction (Vovk, Petej and Fedorova 2015,
arXiv:1511.00213): between its two probabilities, one is calibrated without any assumption on the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.special import expit, logit

from claimscale.config.base import Number, Settings
from claimscale.errors import BadInput

LEAST_RISK = 1e-7
FOLDS, FEWEST_POSITIVES = 5, 20
GRID = 256
"""Points at which step functions are kept: fewer than tuning patients, so that no patient can be read off."""
Points = Annotated[list[Number], Field(max_length=GRID)]
Floats = np.ndarray
Method = Literal["none", "platt", "isotonic"]


class Calibration(Settings):
    """`calibration.json`."""

    method: Method
    """How risks are calibrated."""
    slope: Number = 1.0
    """Of the line of log odds."""
    intercept: Number = 0.0
    """Of the line of log odds."""
    log_odds: Points = []
    """Log odds, ascending, at which step functions are given."""
    isotonic: Points = []
    """Calibrated probability at each of `log_odds`; empty for other methods."""
    low: Points = []
    """Venn-Abers probability if the outcome were absent, at each of `log_odds`."""
    high: Points = []
    """Venn-Abers probability if the outcome occurred, at each of `log_odds`."""
    log_loss: dict[Method, Number] = {}
    """Cross-validated log-loss of each method."""
    patients: int = 0
    """Tuning patients."""
    positives: int = 0
    """Tuning patients with the outcome."""

    def calibrated(self, risks: Floats) -> Floats:
        """Calibrated probabilities, float64 [n]."""
        if self.method == "platt":
            return expit(self.intercept + self.slope * log_odds_of(risks))
        if self.method == "isotonic":
            return np.interp(log_odds_of(risks), self.log_odds, self.isotonic)
        return np.asarray(risks, np.float64)

    def interval(self, risks: Floats) -> tuple[Floats, Floats]:
        """The Venn-Abers interval of each risk, float64 [n] each; NaN where there is none."""
        if not self.log_odds:
            nothing = np.full(len(risks), np.nan)
            return nothing, nothing
        at = log_odds_of(risks)
        low, high = np.interp(at, self.log_odds, self.low), np.interp(at, self.log_odds, self.high)
        return np.minimum(low, high), np.maximum(low, high)


def fit(outcome: np.ndarray, risks: Floats) -> Calibration:
    """Choose a method for the risks of tuning patients, float64 [n], and their outcomes, bool [n].

    Without FEWEST_POSITIVES of both outcomes nothing is fitted.
    """
    patients, positives = len(outcome), int(outcome.sum())
    if min(positives, patients - positives) < FEWEST_POSITIVES:
        return Calibration(method="none", patients=patients, positives=positives)
    odds = log_odds_of(risks)
    losses: dict[Method, float] = {
        name: _cross_validated(make, odds, outcome) for name, make in METHODS.items()
    }
    chosen = min(METHODS, key=lambda name: losses[name])
    grid = np.unique(np.quantile(odds, np.linspace(0, 1, GRID)))
    low, high = _venn_abers(odds, outcome, grid)
    intercept, slope = _line(odds, outcome) if chosen == "platt" else (0.0, 1.0)
    return Calibration(
        method=chosen,
        slope=slope,
        intercept=intercept,
        log_odds=grid.tolist(),
        isotonic=_isotonic(odds, outcome)(grid).tolist() if chosen == "isotonic" else [],
        low=low.tolist(),
        high=high.tolist(),
        log_loss=losses,
        patients=patients,
        positives=positives,
    )


def recalibrate(outcome: np.ndarray, risks: Floats) -> tuple[float, float]:
    """Intercept and slope of the log odds for patients of another place (Platt).

    Raises BadInput with fewer than FEWEST_POSITIVES of either outcome.
    """
    positives = int(outcome.sum())
    if min(positives, len(outcome) - positives) < FEWEST_POSITIVES:
        raise BadInput(
            f"recalibration: needs {FEWEST_POSITIVES} patients with and without the outcome; there are "
            f"{positives:,} of {len(outcome):,} with it"
        )
    return _line(log_odds_of(risks), outcome)


def log_odds_of(risks: Floats) -> Floats:
    """Log odds of probabilities, float64, finite."""
    return logit(np.clip(np.asarray(risks, np.float64), LEAST_RISK, 1 - LEAST_RISK))


def _line(odds: Floats, outcome: np.ndarray) -> tuple[float, float]:
    """Intercept and slope of a logistic regression on log odds."""
    from sklearn.linear_model import LogisticRegression  # only fits wait for scikit-learn to load

    line = LogisticRegression(C=1e6).fit(odds[:, None], outcome)
    return float(np.asarray(line.intercept_)[0]), float(np.asarray(line.coef_)[0, 0])


def _platt(odds: Floats, outcome: np.ndarray) -> Callable[[Floats], Floats]:
    intercept, slope = _line(odds, outcome)
    return lambda at: expit(intercept + slope * at)


def _isotonic(odds: Floats, outcome: np.ndarray) -> Callable[[Floats], Floats]:
    from sklearn.isotonic import IsotonicRegression

    smallest = 1 / (len(outcome) + 2)  # a bin without outcomes is not proof of risk 0
    return (
        IsotonicRegression(y_min=smallest, y_max=1 - smallest, out_of_bounds="clip")
        .fit(odds, outcome)
        .predict
    )


METHODS: dict[Method, Callable[[Floats, np.ndarray], Callable[[Floats], Floats]]] = {
    "none": lambda odds, outcome: expit,
    "platt": _platt,
    "isotonic": _isotonic,
}


def _cross_validated(
    make: Callable[[Floats, np.ndarray], Callable[[Floats], Floats]], odds: Floats, outcome: np.ndarray
) -> float:
    """Mean log-loss over patients whom the map has not seen."""
    from sklearn.model_selection import StratifiedKFold

    losses = np.empty(len(odds))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(odds[:, None], outcome):
        risk = np.clip(make(odds[train], outcome[train])(odds[test]), LEAST_RISK, 1 - LEAST_RISK)
        losses[test] = -np.where(outcome[test], np.log(risk), np.log1p(-risk))
    return float(losses.mean())


def _venn_abers(odds: Floats, outcome: np.ndarray, grid: Floats) -> tuple[Floats, Floats]:
    """Both Venn-Abers probabilities at each log odds of the grid, float64 each.

    They are the isotonic regressions of the tuning patients and one more patient, at the log odds, with and
    without the outcome.
    """
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(odds, kind="stable")
    odds, outcome = odds[order], outcome[order].astype(np.float64)
    place = np.searchsorted(odds, grid)
    found = []
    for added in (0.0, 1.0):
        steps = [isotonic_regression(np.insert(outcome, at, added), y_min=0, y_max=1)[at] for at in place]
        found.append(np.array(steps))
    return found[0], found[1]
