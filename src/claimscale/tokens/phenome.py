"""The outcomes of the phenome: groups of tokens that patients may have for the first time, and who does.

A disease, medication or procedure is one outcome: the codes of a category or class. The outcome occurs if its
first code after the index date is in `(gap, gap + horizon]`, as in a task. Patients who had it before are not
at risk: diseases ever, others within the washout.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from claimscale.codes.systems import SEPARATOR, TYPES, check_depths, roll_up, split
from claimscale.config.phenome import Phenome
from claimscale.tokens.code_groups import ICD9_CHAPTERS, ICD10_CHAPTERS, chapter
from claimscale.tokens.store import TokenStore
from claimscale.tokens.vocabulary import Vocabulary

Kind = Literal["disease", "medication", "procedure"]
KINDS: dict[str, Kind] = {"diagnosis": "disease", "drug": "medication", "procedure": "procedure"}
"""The kind of outcome by the type of its codes; codes of other types are no outcomes."""
CHAPTERS = {"ICD10": ICD10_CHAPTERS, "ICD9CM": ICD9_CHAPTERS}
EVER = 10**6
NOT_AT_RISK, WITHOUT, CASE = -1, 0, 1
"""States of a patient with regard to an outcome."""


@dataclass(frozen=True)
class Outcome:
    """One outcome: its code or group, its kind, the chapter or main group of its system, and its tokens."""

    code: str
    kind: Kind
    chapter: str
    tokens: tuple[int, ...]


class Window(NamedTuple):
    """When an outcome counts, in days from the index date: `(gap, end]`; `washout` of all but diseases."""

    gap: int
    end: int
    washout: int

    @classmethod
    def of(cls, settings: Phenome, horizon_days: int) -> Window:
        return cls(settings.gap_days, settings.gap_days + horizon_days, settings.washout_days)


def outcomes_of(vocabulary: Vocabulary, levels: Mapping[str, int]) -> list[Outcome]:
    """All outcomes of a vocabulary, sorted by kind, chapter and code.

    Raises BadInput for a level that a code system does not have.
    """
    check_depths(levels, "phenome.levels")
    tokens: dict[str, list[int]] = {}
    kinds: dict[str, Kind] = {}
    for token, (code, kind) in enumerate(zip(vocabulary.codes, vocabulary.types.tolist(), strict=True)):
        if TYPES[kind] in KINDS:
            group = roll_up(code, levels)
            tokens.setdefault(group, []).append(token)
            kinds[group] = KINDS[TYPES[kind]]
    found = [Outcome(code, kinds[code], chapter_of(code), tuple(own)) for code, own in tokens.items()]
    return sorted(found, key=lambda one: (list(KINDS.values()).index(one.kind), one.chapter, one.code))


def chapter_of(code: str) -> str:
    """The chapter of a diagnosis, else the first character of a code, with its system.

    >>> chapter_of("ICD10//N18"), chapter_of("ATC//N02B"), chapter_of("KUBUN//D215")
    ('ICD10//N00', 'ATC//N', 'KUBUN//D')
    """
    system, value = split(code)
    return chapter(code).rstrip("~") if system in CHAPTERS else system + SEPARATOR + value[:1]


def outcome_states(
    store: TokenStore, rows: np.ndarray, index_days: np.ndarray, outcomes: Sequence[Outcome], window: Window
) -> np.ndarray:
    """NOT_AT_RISK, WITHOUT or CASE of each index date and outcome, int8 [n, outcomes]."""
    column = np.full(store.vocabulary.size, -1, np.int32)
    look_back = np.full(len(outcomes), window.washout, np.int64)
    for place, outcome in enumerate(outcomes):
        column[list(outcome.tokens)] = place
        if outcome.kind == "disease":
            look_back[place] = EVER
    states = np.zeros((len(rows), len(outcomes)), np.int8)
    stored = _Stored(store.token, store.age_days, store.offsets, store.birth_day)
    _states(stored, rows, index_days, column, look_back, np.array(window[:2]), states)
    return states


class _Stored(NamedTuple):
    """Arrays of the token store."""

    token: np.ndarray
    age_days: np.ndarray
    offsets: np.ndarray
    birth_day: np.ndarray


@njit(cache=True)
def _states(stored, rows, index_days, column, look_back, window, states):
    first = np.empty(look_back.size, np.int64)
    for n in range(rows.size):
        row = rows[n]
        first[:] = EVER
        for at in range(stored.offsets[row], stored.offsets[row + 1]):
            outcome = column[stored.token[at]]
            if outcome < 0:
                continue
            after = stored.birth_day[row] + stored.age_days[at] - index_days[n]
            if after <= 0:
                if after > -look_back[outcome]:
                    states[n, outcome] = NOT_AT_RISK
            else:
                first[outcome] = min(first[outcome], after)
        for outcome in range(look_back.size):
            inside = window[0] < first[outcome] <= window[1]
            if inside and states[n, outcome] != NOT_AT_RISK:
                states[n, outcome] = CASE
