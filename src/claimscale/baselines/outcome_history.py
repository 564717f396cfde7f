"""Carry-forward: what the record already says about the outcome, and nothing else.

The rule that anybody would try first. Its inputs are age, sex and four families of codes:

* the outcome's own codes, where the washout leaves any (a drug taken more than a year ago, say);
* the same codes as mere suspicions;
* their neighbours, the codes one step up the hierarchy that are not the outcome's own (for N18 the codes
  under N1, for ATC N02BF02 those under N02BF), confirmed and suspected apart;
* the codes that the task's definition takes as confirmation of the outcome.

Of each family: whether it was seen in the last year, whether ever, and how lately. A logistic regression
with a ridge penalty, chosen on the tuning split, weighs them, so that the risks are calibrated.
"""

from __future__ import annotations

import time

import numpy as np
import optuna
import scipy.sparse as sparse

from claimscale.baselines.elastic_net import ElasticNet, LogisticFit
from claimscale.baselines.features import PERSON, WINDOWS_DAYS, FeatureColumns, age_squared, support
from claimscale.baselines.search import BaselineJob, Predicted, log_loss, search
from claimscale.codes.systems import SYSTEMS, TYPES
from claimscale.config.base import Codes
from claimscale.config.tasks import Task
from claimscale.tokens.vocabulary import Vocabulary

DEMOGRAPHICS = PERSON[:3]
RECENT = WINDOWS_DAYS.index(365)
EVER = WINDOWS_DAYS.index(None)


def one_step_up(prefixes: Codes) -> Codes:
    """Prefixes one step up each system's hierarchy: one level of ATC, one character elsewhere.

    >>> one_step_up({"ICD10": ["N18", "I50"], "ATC": ["N02BF02"], "YJ": ["1190017"]})
    {'ICD10': ['I5', 'N1'], 'ATC': ['N02BF'], 'YJ': ['119001']}
    """
    return {
        system: sorted({_shorter(system, prefix) for prefix in listed}) for system, listed in prefixes.items()
    }


def _shorter(system: str, prefix: str) -> str:
    levels = SYSTEMS[system].level_lengths if system in SYSTEMS else ()
    shorter = [length for length in levels if length < len(prefix)] if levels else [len(prefix) - 1]
    return prefix[: max(max(shorter, default=1), 1)]


def families(vocabulary: Vocabulary, task: Task) -> list[np.ndarray]:
    """The tokens of each family of codes (int32, none in two families); empty families are left out."""
    own = vocabulary.tokens_with_prefix(task.outcome)
    near = np.setdiff1d(vocabulary.tokens_with_prefix(one_step_up(task.outcome)), own)
    confirming = np.setdiff1d(vocabulary.tokens_with_prefix(task.confirmation_codes), np.union1d(own, near))
    suspected = np.flatnonzero(vocabulary.types == TYPES.index("suspected"))
    found = [
        np.setdiff1d(own, suspected),
        np.intersect1d(own, suspected),
        np.setdiff1d(near, suspected),
        np.intersect1d(near, suspected),
        confirming,
    ]
    return [tokens for tokens in found if len(tokens)]


def rule_features(
    matrix: sparse.csr_matrix, layout: FeatureColumns, families: list[np.ndarray]
) -> sparse.csr_matrix:
    """Inputs of the rule from counted codes: float32 [n, 4 + 3 per family], sparse.

    Age, sex, age squared; per family seen in the last year and ever (0 or 1) and the recency of its last
    code.
    """
    blocks = [matrix[:, : len(DEMOGRAPHICS)], age_squared(matrix)]
    for tokens in families:
        for place in (RECENT, EVER):
            counts = matrix[:, layout.window(place).start + tokens].sum(axis=1)
            blocks.append(sparse.csr_matrix((np.asarray(counts) > 0).astype(np.float32)))
        blocks.append(sparse.csr_matrix(matrix[:, layout.recency.start + tokens].max(axis=1)))
    return sparse.csr_matrix(sparse.hstack(blocks, format="csr", dtype=np.float32))


def fit_predict(job: BaselineJob) -> Predicted:
    """Fit the rule on inputs of `rule_features` and predict.

    Says {seconds, tuning_log_loss, chosen, columns}.
    """
    started = time.perf_counter()
    columns = np.flatnonzero(support(job.train.features))
    net = ElasticNet(job.train.features[:, columns], job.train.outcome)
    watched = job.tuning.features[:, columns]

    def attempt(trial: optuna.Trial) -> tuple[LogisticFit, float]:
        fit = net.fit(trial.suggest_float("penalty", 1e-4, 1.0, log=True), mix=0.0)
        return fit, log_loss(job.tuning.outcome, fit.predict(watched))

    best = search(attempt, {"penalty": 1e-2}, job)
    probabilities = {name: best.model.predict(matrix[:, columns]) for name, matrix in job.predict.items()}
    job.progress(1.0)
    return probabilities, {
        "seconds": time.perf_counter() - started,
        "tuning_log_loss": best.loss,
        "chosen": dict(best.settings),
        "columns": len(columns),
    }
