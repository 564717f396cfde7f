"""One patient's score, explained: contributions of each member, and what the removal of codes changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from claimscale.errors import BadInput
from claimscale.evaluation.metrics import MIN_RISK
from claimscale.inference.attribution import Attribution, averaged, token_name, without_codes
from claimscale.inference.explanation_schema import CodeRemoval
from claimscale.inference.integrated_gradients import captum_attr, encoder_attribution
from claimscale.inference.members import BaselineMember, EncoderMember, PackagedMember
from claimscale.inference.package import ModelPackage
from claimscale.inference.tabular_attribution import tabular_attribution
from claimscale.tokens.store import TokenStore

REMOVED_CODES = 10
"""Codes that are removed: those with the largest absolute contributions."""
FEWEST_REMOVED = 3
"""Fewer have no correlation."""


@dataclass(frozen=True)
class Explained:
    """The contributions to a score of the package and of its members, and the effects of removals."""

    attribution: Attribution
    members: tuple[Attribution, ...]
    removals: tuple[CodeRemoval, ...]

    @property
    def risk(self) -> float:
        return float(expit(self.attribution.log_odds))

    @property
    def removal_correlation(self) -> float | None:
        """Pearson correlation of contribution and change; None with fewer than FEWEST_REMOVED codes."""
        pairs = np.array([(one.contribution, one.change) for one in self.removals])
        if len(pairs) < FEWEST_REMOVED or not pairs.std(axis=0).all():
            return None
        return float(np.corrcoef(pairs.T)[0, 1])


def check_explainable(package: ModelPackage) -> None:
    """Raises BadInput for a package without a question, and where its encoder needs Captum."""
    if package.config.task is None:
        raise BadInput(f"{package.folder}: holds an encoder without a question; it has no score to explain")
    if any(isinstance(member, EncoderMember) for member in package.members):
        captum_attr()


def explain_row(package: ModelPackage, store: TokenStore, row: int, index_day: int) -> Explained:
    """Explain the score of one patient of the store by what is known at the index day."""
    members = tuple(_attribution(package, member, store, row, index_day) for member in package.members)
    risk = package.risks(store, np.array([row]), np.array([index_day]))
    found = averaged(members, _log_odds(risk)[0])
    return Explained(found, members, _removals(package, store, row, index_day, found))


def _attribution(
    package: ModelPackage, member: PackagedMember, store: TokenStore, row: int, index_day: int
) -> Attribution:
    where = np.array([row]), np.array([index_day])
    log_odds = _log_odds(member.risks(store, *where))[0]
    if isinstance(member, EncoderMember):
        sequence = member.sequences(store, *where)
        return encoder_attribution(
            member, sequence, index_day, package.vocabulary, package.reference, log_odds
        )
    assert isinstance(member, BaselineMember)
    return tabular_attribution(member, store, row, index_day, log_odds)


def _removals(
    package: ModelPackage, store: TokenStore, row: int, index_day: int, found: Attribution
) -> tuple[CodeRemoval, ...]:
    """The effect of removing each of the codes with the largest contributions."""
    by_code = found.by_code()
    chosen = sorted(by_code, key=lambda code: -abs(by_code[code]))[:REMOVED_CODES]
    if not chosen:
        return ()
    own = np.unique(store.token[store.offsets[row] : store.offsets[row + 1]])
    names = [token_name(package.vocabulary, token) for token in own.tolist()]
    removed = [own[[name == code for name in names]] for code in chosen]
    copies = without_codes(store, row, removed)
    risks = package.risks(copies, np.arange(len(chosen)), np.full(len(chosen), index_day))
    return tuple(
        CodeRemoval(
            code=code,
            suspected=suspected,
            contribution=by_code[code, suspected],
            risk_without=float(risk),
            change=found.log_odds - log_odds,
        )
        for (code, suspected), risk, log_odds in zip(chosen, risks, _log_odds(risks), strict=True)
    )


def _log_odds(risks: np.ndarray) -> list[float]:
    return logit(risks.clip(MIN_RISK, 1 - MIN_RISK)).tolist()
