"""Metrics of many outcomes, with what each patient contributes to them.

The influence of a patient on a metric is its derivative with respect to the patient's weight. The sum of
squared influences is the variance of the metric over patients (infinitesimal jackknife), and influences of
models, outcomes and families on the same patients add up, so that their covariances need no resampling of
each.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimscale.evaluation.metrics import Floats


class Influences(NamedTuple):
    """AUPRC and AUROC of a ranking of n patients, and each patient's influence on them, float64 [n]."""

    auprc: float
    auroc: float
    of_auprc: Floats
    of_auroc: Floats


def ranking_influences(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> Influences:
    """AUPRC (average precision) and AUROC of scores [n] with their influences; labels have both classes.

    Tied scores are one step of both curves.
    """
    order = np.argsort(-scores, kind="stable")
    of_auprc, of_auroc = np.empty(len(labels)), np.empty(len(labels))
    auprc, auroc = _influences(labels[order], scores[order], order, of_auprc, of_auroc)
    return Influences(auprc, auroc, of_auprc, of_auroc)


@njit(cache=True)
def _influences(labels, scores, order, of_auprc, of_auroc):
    """Labels and scores are sorted from the highest score down.

    Average precision is the mean over cases i of P_i = (cases with at least the score of i) / N_i, the
    patients with at least that score. The weight of patient k changes P_i where k ranks at least as high, by
    (y_k - P_i) / N_i; and a case adds its own P_k.
    """
    n, cases = labels.size, 0
    for place in range(n):
        cases += labels[place]
    controls = n - cases
    # From the highest score down: precision at each place, for groups of ties together.
    precision, above = np.empty(n), np.empty(n, np.int64)
    first, seen, auprc, auroc = 0, 0, 0.0, 0.0
    while first < n:
        stop = first
        own = 0
        while stop < n and scores[stop] == scores[first]:
            own += labels[stop]
            stop += 1
        precision[first:stop] = (seen + own) / stop
        above[first:stop] = stop
        auprc += own * precision[first]
        own_controls = stop - first - own
        auroc += own_controls * (seen + own / 2)
        # A control is ranked below `seen` cases, a case above the controls that follow.
        for place in range(first, stop):
            if labels[place]:
                below = controls - (first - seen) - own_controls
                of_auroc[order[place]] = below + own_controls / 2
            else:
                of_auroc[order[place]] = seen + own / 2
        seen += own
        first = stop
    auprc /= cases
    auroc /= cases * controls
    # From the lowest score up: sums over the cases that rank at most as high.
    inverse, weighted = 0.0, 0.0
    last = n
    while last > 0:
        start = last
        while start > 0 and scores[start - 1] == scores[last - 1]:
            start -= 1
            if labels[start]:
                inverse += 1 / above[start]
                weighted += precision[start] / above[start]
        for place in range(start, last):
            label = labels[place]
            change = label * inverse - weighted
            of_auprc[order[place]] = (change + label * (precision[place] - auprc)) / cases
        last = start
    for place in range(n):
        share = of_auroc[order[place]]
        if labels[place]:
            of_auroc[order[place]] = (share / controls - auroc) / cases
        else:
            of_auroc[order[place]] = (share / cases - auroc) / controls
    return auprc, auroc
