"""Risk by a horizon under censoring: Kaplan-Meier, inverse censoring weights, Aalen-Johansen.

Times are days from the index date. At equal times, events come before censoring.
"""

from __future__ import annotations

import numpy as np

from claimscale.validity.check_result import Bools, Floats, Ints

CENSORED, OUTCOME, DEATH = 0, 1, 2
MIN_PROBABILITY = 1e-12
"""Lower bound of the probability of not being censored, so that weights stay finite."""


def survival_before(time: Floats | Ints, event: Bools, at: Floats | Ints) -> Floats:
    """Kaplan-Meier's estimate of surviving until just before each of `at`, [len(at)].

    Kaplan and Meier, J Am Stat Assoc 1958;53:457. `time` [n], `event` bool [n] (false: censored).
    """
    from scipy.stats import CensoredData, ecdf

    if not event.any():
        return np.ones(len(at))
    curve = ecdf(CensoredData(uncensored=time[event], right=time[~event])).sf
    return curve.evaluate(np.nextafter(np.asarray(at, np.float64), -np.inf))


def kaplan_meier_risk(time: Floats | Ints, event: Bools, horizon: float) -> float:
    """1 minus Kaplan-Meier's survival through the horizon; a competing death counts as censored."""
    return 1.0 - float(survival_before(time, event, np.array([np.nextafter(horizon, np.inf)]))[0])


def ipcw_risk(time: Ints, event: Bools, stratum: Ints, horizon: float) -> float:
    """Risk by the horizon, each case weighted by the inverse probability of not being censored before it.

    The probability is Kaplan-Meier's within each stratum (int [n]). The estimate is unbiased where both
    censoring and risk depend on the stratum, and Kaplan-Meier's is not. With one stratum the two are equal.
    Robins and Rotnitzky 1992; Satten and Datta, Am Stat 2001;55:207.
    """
    weight = np.zeros(len(time))
    for value in np.unique(stratum):
        inside = stratum == value
        # Events leave the risk set of censoring at that time, so they are placed just before it.
        last = np.nextafter(time[inside].astype(np.float64), np.where(event[inside], -np.inf, time[inside]))
        uncensored = survival_before(last, ~event[inside], time[inside])
        weight[inside] = 1 / np.maximum(uncensored, MIN_PROBABILITY)
    counted = event & (time <= horizon)
    return float(weight[counted].sum() / len(time)) if len(time) else float("nan")


def aalen_johansen_risk(time: Floats | Ints, kind: Ints, horizon: float) -> float:
    """Cumulative incidence of the outcome by the horizon, with death as a competing risk.

    Aalen and Johansen, Scand J Stat 1978;5:141. `kind` int [n]: 0 censored, 1 outcome, 2 death.
    """
    event_free = survival_before(time, kind != CENSORED, time)
    at_risk = len(time) - np.searchsorted(np.sort(time), time, side="left")
    counted = (kind == OUTCOME) & (time <= horizon)
    return float((event_free[counted] / at_risk[counted]).sum())
