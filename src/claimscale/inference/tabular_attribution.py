"""Contributions to the log odds of the models on counted codes; they are exact.

A linear model's contributions are coefficient times value, and its baseline is the intercept. Those of
LightGBM are SHAP values of its trees (Lundberg et al., Nat Mach Intell 2020;2:56), and its baseline is their
mean over the training data. The columns of a code, its counts in every window and its recency, are summed. A
group of codes is an input of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse

from claimscale.baselines import features
from claimscale.baselines.fitted_models import LinearModel
from claimscale.inference.attribution import SUSPECTED, Attribution, Input, token_name
from claimscale.inference.explanation_schema import InputKind
from claimscale.inference.members import BaselineMember
from claimscale.tokens.sequences import WINDOWS_DAYS
from claimscale.tokens.store import TokenStore

Column = tuple[InputKind, str, bool]
SHOWN_CODES = 3
"""Codes in the name of a family of codes."""


class Record(NamedTuple):
    """The known codes of a patient, visible to the model: day of the newest occurrence, and their number."""

    newest: dict[tuple[str, bool], int]
    counts: dict[tuple[str, bool], int]


def tabular_attribution(
    member: BaselineMember, store: TokenStore, row: int, index_day: int, log_odds: float
) -> Attribution:
    """Contributions of one patient of the store, known at the index day, to a score with these log odds."""
    inputs = member.features(store, np.array([row]), np.array([index_day]))
    values, baseline = _contributions(member, inputs)
    record = _record(member, store, row, index_day)
    contributions: dict[Input, float] = {}
    names = columns(member)
    for column, value in zip(member.model.columns.tolist(), values.tolist(), strict=True):
        if value:
            one = _input(names[column], record)
            contributions[one] = contributions.get(one, 0.0) + value
    counts = {one: record.counts[one.name, one.suspected] for one in contributions if one.kind == "code"}
    return Attribution(contributions, counts, baseline, log_odds)


def columns(member: BaselineMember) -> list[Column]:
    """What each column of the member's features is about."""
    names = _code_columns(member)
    services: list[Column] = [("services", "services", False)] * len(features.SERVICES)
    windows = (names + services) * len(WINDOWS_DAYS)
    if member.kind == "logistic":
        return [*PERSON, AGE, *windows, *windows, *names]
    if member.kind == "outcome_history":
        families = [_family(member, tokens) for tokens in member.families]
        return [*PERSON[:3], AGE, *(family for family in families for _ in range(3))]
    return [*PERSON, *windows, *names]


AGE: Column = ("age", "age", False)
PERSON: list[Column] = [AGE, ("sex", "sex", False), ("sex", "sex", False), ("history", "history", False)]
"""Columns of `features.PERSON`."""


def _code_columns(member: BaselineMember) -> list[Column]:
    """The columns of `CodeGroups`: tokens, then groups."""
    vocabulary, groups = member.vocabulary, member.groups
    found: list[Column] = [("code", *token_name(vocabulary, token)) for token in range(vocabulary.size)]
    suspected = np.zeros(groups.count, bool)
    for level in range(groups.columns.shape[1]):
        used = groups.columns[:, level] >= 0
        suspected[groups.columns[used, level]] = vocabulary.types[used] == SUSPECTED
    later = range(vocabulary.size, groups.count)
    return found + [("code_group", groups.names[column], bool(suspected[column])) for column in later]


def _family(member: BaselineMember, tokens: np.ndarray) -> Column:
    """A family of outcome history, named by its first codes."""
    names = [member.vocabulary.codes[token] for token in tokens[:SHOWN_CODES]]
    more = f" and {len(tokens) - SHOWN_CODES} more" if len(tokens) > SHOWN_CODES else ""
    return "code_group", ", ".join(names) + more, bool(member.vocabulary.types[tokens[0]] == SUSPECTED)


def _contributions(member: BaselineMember, inputs: sparse.csr_matrix) -> tuple[np.ndarray, float]:
    """Contributions of the model's columns to one row, float64 [k], and the baseline."""
    used = sparse.csr_matrix(inputs[:, member.model.columns])
    if isinstance(member.model, LinearModel):
        values = np.asarray(used.todense(), np.float64)[0]
        return values * member.model.coefficient, float(member.model.intercept)
    booster, threads = member.model.booster, member.model.threads
    found = booster.predict(used, num_threads=threads, pred_contrib=True)
    *values, baseline = np.asarray(sparse.csr_matrix(found).todense(), np.float64)[0]
    return np.array(values), float(baseline)


def _record(member: BaselineMember, store: TokenStore, row: int, index_day: int) -> Record:
    start, stop = int(store.offsets[row]), int(store.offsets[row + 1])
    known = np.asarray(store.available[start:stop]) <= index_day
    tokens = np.asarray(store.token[start:stop])
    known &= ~np.isin(tokens, member.hidden)
    days = int(store.birth_day[row]) + np.asarray(store.age_days[start:stop]).astype(int)
    newest: dict[tuple[str, bool], int] = {}
    counts: dict[tuple[str, bool], int] = {}
    for token, day in zip(tokens[known].tolist(), days[known].tolist(), strict=True):
        name = token_name(store.vocabulary, token)
        newest[name] = max(day, newest.get(name, day))
        counts[name] = counts.get(name, 0) + 1
    return Record(newest, counts)


def _input(column: Column, record: Record) -> Input:
    kind, name, suspected = column
    if kind != "code":
        return Input(kind, name, suspected)
    if (name, suspected) in record.newest:
        return Input("code", name, suspected, record.newest[name, suspected])
    return Input("absent_code", name, suspected)
