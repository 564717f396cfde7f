"""How well scores tell the outcome apart, with an honest error, and without a model of weight."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from scipy.stats import rankdata

from claimscale.validity.finding import Bools, Entries, Floats, Ints

FOLDS = 5
SMOOTHING = 0.5
LEAST_CARRIERS = 5


def auroc(score: Floats | Ints, outcome: Bools) -> float:
    """Area under the ROC curve, ties counted half; NaN without both classes."""
    positives = int(outcome.sum())
    negatives = len(outcome) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[outcome].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auroc_error(area: float, positives: int, negatives: int) -> float:
    """Standard error of an AUROC (Hanley and McNeil, Radiology 1982;143:29)."""
    if not positives or not negatives or not np.isfinite(area):
        return float("nan")
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return float(np.sqrt(max(spread, 0.0) / (positives * negatives)))


def presence(entries: Entries, patients: int) -> sparse.csr_matrix:
    """Whether each patient has each code: float64 [patients, C], zeros and ones."""
    ones = np.ones(len(entries.patient))
    shape = (patients, len(entries.names))
    found = sparse.csr_matrix((ones, (entries.patient, entries.code)), shape=shape)
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def presence_aurocs(present: sparse.csr_matrix, outcome: Bools) -> Floats:
    """AUROC of having each code, [C]: half of sensitivity plus specificity."""
    positives = max(int(outcome.sum()), 1)
    negatives = max(int((~outcome).sum()), 1)
    with_outcome = np.asarray(present[outcome].sum(axis=0)).ravel() / positives
    without = np.asarray(present[~outcome].sum(axis=0)).ravel() / negatives
    return 0.5 + (with_outcome - without) / 2


def cross_fitted(present: sparse.csr_matrix, outcome: Bools) -> Floats:
    """A score per patient from all codes together, [n]: naive Bayes, learned on the other four fifths.

    Each patient is scored by weights that know nothing of the patient, so that the AUROC of the scores is
    not raised by fitting, however many codes there are. Codes of fewer than five patients are left out.
    """
    present = present[:, np.asarray(present.sum(axis=0)).ravel() >= LEAST_CARRIERS]
    # Cases and others are dealt out in turn, so that every fold has its share of both.
    fold = np.zeros(len(outcome), dtype=np.int64)
    for group in (outcome, ~outcome):
        fold[group] = np.arange(int(group.sum())) % FOLDS
    score = np.zeros(len(outcome))
    for number in range(FOLDS):
        others, own = fold != number, fold == number
        weights = []
        for group in (outcome, ~outcome):
            have = np.asarray(present[others & group].sum(axis=0)).ravel()
            rate = (have + SMOOTHING) / (int((others & group).sum()) + 2 * SMOOTHING)
            weights.append((np.log(rate), np.log1p(-rate)))
        (yes, no), (yes_not, no_not) = weights
        # Scores of folds become comparable because the absent codes are counted too.
        score[own] = present[own] @ ((yes - yes_not) - (no - no_not)) + (no - no_not).sum()
    return score
