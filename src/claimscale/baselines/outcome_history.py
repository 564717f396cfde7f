"""Outcome history: a logistic regression on the record of the outcome's own and related codes.

The inputs are age, sex and five families of codes:

* confirmed outcome codes, if the washout allows any (a drug prescribed more than a year ago, say);
* suspected outcome codes;
* neighbours, confirmed, and neighbours, suspected: other codes one step up the hierarchy (for N18 the codes
  under N1, for ATC N02BF02 those under N02BF);
* confirmation codes of the task.

Per family: any code in the last year, any code ever, and the recency of the last one. The ridge penalty is
selected on the tuning split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import optuna
import scipy.sparse as sparse

from claimscale.baselines.elastic_net import ElasticNet
from claimscale.baselines.features import PERSON, WINDOWS_DAYS, FeatureColumns, age_squared, support
from claimscale.baselines.fitted_models import LinearModel
from claimscale.baselines.search import Attempt, BaselineJob, Fitted, log_loss
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
    """The tokens of each non-empty family of codes, int32; no token is in two families."""
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


def history_features(
    matrix: sparse.csr_matrix, columns: FeatureColumns, families: list[np.ndarray]
) -> sparse.csr_matrix:
    """Inputs of the model from counted codes: float32 [n, 4 + 3 per family], sparse.

    Age, sex, age squared; per family, presence in the last year and ever (0 or 1) and recency.
    """
    blocks = [matrix[:, : len(DEMOGRAPHICS)], age_squared(matrix)]
    for tokens in families:
        for place in (RECENT, EVER):
            counts = matrix[:, columns.window(place).start + tokens].sum(axis=1)
            blocks.append(sparse.csr_matrix((np.asarray(counts) > 0).astype(np.float32)))
        blocks.append(sparse.csr_matrix(matrix[:, columns.recency.start + tokens].max(axis=1)))
    return sparse.csr_matrix(sparse.hstack(blocks, format="csr", dtype=np.float32))


def baseline(job: BaselineJob) -> tuple[Attempt, Sequence[Mapping[str, float]]]:
    """Trials over the ridge penalty, on inputs of `history_features`."""
    columns = np.flatnonzero(support(job.train.features))
    net = ElasticNet(job.train.features[:, columns], job.train.outcome)
    tuning = job.tuning.features[:, columns]

    def attempt(trial: optuna.Trial) -> Fitted:
        fit = net.fit(trial.suggest_float("penalty", 1e-4, 1.0, log=True), mix=0.0)
        loss = log_loss(job.tuning.outcome, fit.predict(tuning))
        model = LinearModel(columns, fit.coefficient, fit.intercept)
        return Fitted(loss, model, {"columns": len(columns)})

    return attempt, [{"penalty": 1e-2}]
