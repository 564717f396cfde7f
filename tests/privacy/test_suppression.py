"""No hidden count can be worked out: an attacker with integer programming, who shares no code, tries."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from claimscale.privacy.suppression import PROFILES, Rule, Shown, Sum, suppress_cells

TABLES = int(os.environ.get("CLAIMSCALE_PRIVACY_TABLES", "12"))
RULES = {name: rule for name, rule in PROFILES.items() if rule is not None}


def attack(shown: Sequence[Shown], sums: Sequence[Sum], rule: Rule, place: int) -> list[int]:
    """The least and the greatest value that a hidden cell can have, for one who knows all that is public.

    Public are the shown counts (rounded to `rule.base`), that '<n' means small, that a count left out is not
    small, and the sums. An unbounded cell has 10**6 as its greatest.
    """
    low, high = np.zeros(len(shown)), np.full(len(shown), 1e6)
    for cell, value in enumerate(shown):
        if isinstance(value, int):
            low[cell] = max(0, value - rule.base // 2)
            high[cell] = value + rule.base // 2
        elif isinstance(value, str):
            low[cell], high[cell] = (0 if rule.zeros else 1), rule.least - 1
        else:
            low[cell] = rule.least
    rows = np.zeros((max(len(sums), 1), len(shown)))
    for row, one in enumerate(sums):
        rows[row, one.total] = 1
        for part in one.parts:
            rows[row, part] -= 1
    found = []
    for direction in (1, -1):
        cost = np.zeros(len(shown))
        cost[place] = direction
        solved = milp(
            cost, integrality=np.ones_like(cost), bounds=Bounds(low, high),
            constraints=LinearConstraint(rows, 0, 0),
        )  # fmt: skip
        assert solved.x is not None, "the true table is always possible"
        found.append(round(solved.x[place]))
    return found


def random_table(seed: int) -> tuple[list[int], list[Sum]]:
    """A row of counts with its total, or rows by columns with all margins; many counts are small or zero."""
    generator = np.random.default_rng(seed)
    rows, columns = (
        (1, int(generator.integers(2, 9))) if seed % 3 == 0 else generator.integers(2, 5, 2).tolist()
    )
    counts = generator.negative_binomial(0.6, 0.6 / (0.6 + generator.choice([3, 12, 60])), (rows, columns))
    cells, sums = counts.ravel().tolist(), []

    def total(parts: list[int]) -> int:
        cells.append(sum(cells[part] for part in parts))
        sums.append(Sum(len(cells) - 1, tuple(parts)))
        return len(cells) - 1

    of_rows = [total([row * columns + column for column in range(columns)]) for row in range(rows)]
    if rows > 1:
        of_columns = [total([row * columns + column for row in range(rows)]) for column in range(columns)]
        total(of_rows)
        sums.append(Sum(len(cells) - 1, tuple(of_columns)))
    return cells, sums


@pytest.mark.parametrize("profile", RULES)
def test_an_attacker_recovers_no_hidden_cell(profile: str) -> None:
    rule, hidden = RULES[profile], 0
    for seed in range(TABLES):
        counts, sums = random_table(seed)
        shown = suppress_cells(counts, sums, rule)
        for place, value in enumerate(shown):
            if isinstance(value, int):
                assert not rule.is_small(counts[place]), "a small count is shown"
                assert value == rule.rounded(counts[place])
            else:
                hidden += 1
                least, most = attack(shown, sums, rule, place)
                assert least < most, f"table {seed}: cell {place} must be {least}"
                assert least <= counts[place] <= most, "the attacker's range is wrong"
    assert hidden > TABLES, "tables without small counts test nothing"


def test_the_attacker_breaks_primary_suppression_alone() -> None:
    """Hiding only the small counts is not enough: the attacker derives some of them."""
    rule, broken = RULES["ndb"], 0
    for seed in range(40):
        counts, sums = random_table(seed)
        shown: list[Shown] = [rule.mark if rule.is_small(count) else count for count in counts]
        ranges = [
            attack(shown, sums, rule, place) for place, value in enumerate(shown) if isinstance(value, str)
        ]
        broken += any(least == most for least, most in ranges)
    assert broken > 20


def test_two_ones_do_not_follow_from_their_sum() -> None:
    """Two hidden counts whose sum is two can only be one and one."""
    shown = suppress_cells([250, 1, 1, 252], [Sum(3, (0, 1, 2))], RULES["ndb"])
    assert shown[1:3] == ["<10", "<10"] and None in (shown[0], shown[3])


def test_an_implied_small_count_is_protected() -> None:
    """500 labelled, 497 with the outcome: the three without it must not follow."""
    labelled, cases, others = suppress_cells(
        [500, 497, 3], [Sum(0, (1, 2))], RULES["ndb"], implied=frozenset({2})
    )
    assert others is None and None in (labelled, cases)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.sampled_from(sorted(RULES)))
def test_a_row_with_its_total(counts: list[int], profile: str) -> None:
    rule = RULES[profile]
    cells, sums = [*counts, sum(counts)], [Sum(len(counts), tuple(range(len(counts))))]
    shown = suppress_cells(cells, sums, rule)
    for place, value in enumerate(shown):
        if not isinstance(value, int):
            least, most = attack(shown, sums, rule, place)
            assert least < most
    if not any(rule.is_small(count) for count in cells):
        assert shown == [rule.rounded(count) for count in cells], "nothing is hidden without need"
