"""Every trap is found, and clean sets are left alone.

Two sets in an ordinary run; ten, as `make test-faults` does, with CLAIMSCALE_TRAP_SETS=10.
"""

from __future__ import annotations

import os

import made_up
import pytest
from traps import TRAPS

SETS = int(os.environ.get("CLAIMSCALE_TRAP_SETS", "2"))
CLEAN_SETS = 5 * SETS
CHECKS = sorted({check for check, _ in TRAPS})


def test_there_are_several_traps_of_every_check() -> None:
    assert set(CHECKS) == set(made_up.run(made_up.make(0)))
    assert all(sum(check == name for name, _ in TRAPS) >= 2 for check in CHECKS)
    assert len(TRAPS) >= 20


@pytest.mark.parametrize(("check", "plant"), TRAPS, ids=[plant.__name__ for _, plant in TRAPS])
def test_every_trap_is_found(check: str, plant) -> None:
    for seed in range(SETS):
        made = made_up.make(seed)
        plant(made)
        found = made_up.run(made)[check]
        assert found.warned, (seed, found.evidence)
        assert found.finding.text.endswith(".") and found.finding.render("ja").endswith("。")


def test_clean_sets_are_left_alone() -> None:
    """At most one false alarm in twenty per check."""
    alarms = dict.fromkeys(CHECKS, 0)
    for seed in range(1000, 1000 + CLEAN_SETS):
        for check, found in made_up.run(made_up.make(seed)).items():
            alarms[check] += found.warned
    assert all(count <= 0.05 * CLEAN_SETS for count in alarms.values()), alarms
