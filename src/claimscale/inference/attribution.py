"""What one patient's inputs contribute to the log odds of a score, and how the members' are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from claimscale.codes.systems import TYPES
from claimscale.inference.explanation_schema import InputKind
from claimscale.tokens.store import TokenStore
from claimscale.tokens.vocabulary import Vocabulary

SUSPECTED = TYPES.index("suspected")


class Input(NamedTuple):
    """One input: the occurrences of a code up to `day` (days since 1970-01-01), or a fact of the person."""

    kind: InputKind
    name: str
    suspected: bool = False
    day: int | None = None


@dataclass(frozen=True)
class Attribution:
    """Contributions to the log odds of one patient's score.

    `log_odds` are those of the score, and `baseline` those to which the contributions add. `counts` are the
    occurrences of codes. `steps` are the points of the integral; None where contributions are exact.
    """

    contributions: dict[Input, float]
    counts: dict[Input, int]
    baseline: float
    log_odds: float
    steps: int | None = None

    @property
    def completeness_error(self) -> float:
        """Baseline and contributions together, minus the log odds of the score."""
        return self.baseline + sum(self.contributions.values()) - self.log_odds

    @property
    def is_complete(self) -> bool:
        """Whether the error is below 1 % of the difference to the baseline; 0.001 where that is below 0.1."""
        difference = max(abs(self.log_odds - self.baseline), SMALL_DIFFERENCE)
        return abs(self.completeness_error) < LARGEST_ERROR * difference

    def by_code(self) -> dict[tuple[str, bool], float]:
        """The contribution of each recorded code, all occurrences together."""
        found: dict[tuple[str, bool], float] = {}
        for one, value in self.contributions.items():
            if one.kind == "code":
                key = one.name, one.suspected
                found[key] = found.get(key, 0.0) + value
        return found


LARGEST_ERROR, SMALL_DIFFERENCE = 0.01, 0.1


def token_name(vocabulary: Vocabulary, token: int) -> tuple[str, bool]:
    """The code of a token, and whether it is a suspected diagnosis."""
    return vocabulary.codes[token], bool(vocabulary.types[token] == SUSPECTED)


def averaged(members: Sequence[Attribution], log_odds: float) -> Attribution:
    """The mean of the members' contributions, for a score whose log odds are the mean of theirs."""
    if len(members) == 1:
        return replace(members[0], log_odds=log_odds)
    contributions: dict[Input, float] = {}
    counts: dict[Input, int] = {}
    for member in members:
        for one, value in member.contributions.items():
            contributions[one] = contributions.get(one, 0.0) + value / len(members)
        for one, count in member.counts.items():
            counts[one] = max(count, counts.get(one, 0))
    steps = [member.steps for member in members if member.steps is not None]
    baseline = float(np.mean([member.baseline for member in members]))
    return Attribution(contributions, counts, baseline, log_odds, max(steps, default=None))


def without_codes(store: TokenStore, row: int, removed: Sequence[np.ndarray]) -> TokenStore:
    """One copy of a patient per entry of `removed`, without these tokens: rows 0, 1, ... of the store."""
    start, stop = int(store.offsets[row]), int(store.offsets[row + 1])
    kept = [start + np.flatnonzero(~np.isin(store.token[start:stop], tokens)) for tokens in removed]
    places = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    copies = np.full(len(kept), row)
    return TokenStore(
        subjects=np.arange(len(kept), dtype=np.int64),
        offsets=np.cumsum([0, *(len(one) for one in kept)]).astype(np.int64),
        token=np.asarray(store.token)[places],
        age_days=np.asarray(store.age_days)[places],
        visit=np.asarray(store.visit)[places],
        available=np.asarray(store.available)[places],
        birth_day=np.asarray(store.birth_day)[copies],
        sex=np.asarray(store.sex)[copies],
        vocabulary=store.vocabulary,
    )
