"""Risk by a horizon when some leave before it: Kaplan-Meier, inverse censoring weights, Aalen-Johansen.

Times are days from the index date. At equal times events come before censoring, as is the convention.
"""

from __future__ import annotations

import numpy as np

from claimscale.validity.finding import Bools, Floats, Ints

CENSORED, OUTCOME, DEATH = 0, 1, 2


def survival_before(time: Ints, event: Bools, at: Floats | Ints) -> Floats:
    """Kaplan-Meier's estimate of surviving *until just before* each of `at`, [len(at)].

    Kaplan and Meier, J Am Stat Assoc 1958;53:457. `time` int [n], `event` bool [n] (false: censored).
    """
    moments, steps = _steps(time, event)
    curve = np.concatenate([[1.0], np.cumprod(steps)])
    return curve[np.searchsorted(moments, at, side="left")]


def kaplan_meier_risk(time: Ints, event: Bools, horizon: float) -> float:
    """1 minus Kaplan-Meier's survival through the horizon; a competing death must come in as censored."""
    return 1.0 - float(survival_before(time, event, np.array([np.nextafter(horizon, np.inf)]))[0])


def ipcw_risk(time: Ints, event: Bools, stratum: Ints, horizon: float) -> float:
    """Risk by the horizon, each case weighted by the inverse chance of still being seen then.

    The chance is Kaplan-Meier's of being censored, within each stratum (int [n]): where leaving depends on
    the stratum and so does the risk, this is right and Kaplan-Meier is not. With one stratum both agree.
    Robins and Rotnitzky 1992; Satten and Datta, Am Stat 2001;55:207.
    """
    weight = np.zeros(len(time))
    for value in np.unique(stratum):
        inside = stratum == value
        weight[inside] = 1 / _seen_until(time[inside], event[inside])
    counted = event & (time <= horizon)
    return float(weight[counted].sum() / len(time)) if len(time) else float("nan")


def aalen_johansen_risk(time: Ints, kind: Ints, horizon: float) -> float:
    """Cumulative incidence of the outcome by the horizon where death (kind 2) ends the chance of it.

    Aalen and Johansen, Scand J Stat 1978;5:141. `kind` int [n]: 0 censored, 1 outcome, 2 death.
    """
    free = survival_before(time, kind != CENSORED, time)
    at_risk = _at_risk(time)
    counted = (kind == OUTCOME) & (time <= horizon)
    return float((free[counted] / at_risk[counted]).sum())


def _seen_until(time: Ints, event: Bools) -> Floats:
    """The chance of not being censored before each patient's own time, [n].

    Those with an event at a moment have left the risk set of being censored at that moment.
    """
    order = np.argsort(time, kind="stable")
    moments, place = np.unique(time[order], return_inverse=True)
    lost = np.bincount(place, weights=~event[order])
    events = np.bincount(place, weights=event[order])
    at_risk = len(time) - np.concatenate([[0], np.cumsum(lost + events)[:-1]]) - events
    steps = np.where(at_risk > 0, 1 - lost / np.maximum(at_risk, 1), 1.0)
    curve = np.concatenate([[1.0], np.cumprod(steps)])
    return np.maximum(curve[np.searchsorted(moments, time, side="left")], 1e-12)


def _steps(time: Ints, event: Bools) -> tuple[Floats, Floats]:
    """The distinct times, and Kaplan-Meier's factor at each."""
    moments, place = np.unique(time, return_inverse=True)
    events = np.bincount(place, weights=event)
    leaving = np.bincount(place)
    at_risk = len(time) - np.concatenate([[0], np.cumsum(leaving)[:-1]])
    return moments.astype(np.float64), 1 - events / at_risk


def _at_risk(time: Ints) -> Floats:
    """How many are still seen at each patient's own time, that patient included, [n]."""
    return len(time) - np.searchsorted(np.sort(time), time, side="left").astype(np.float64)
