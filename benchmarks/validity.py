"""Sensitivity and false alarms of the validity checks.

Every planted fault of tests/helpers/traps.py is put into ten simulated sets; 200 clean sets give the rate of
false alarms. Three simulated countries run through the whole pipeline; their warnings are true (patients are
visible in one hospital only, and are lost after their last contact). Times are of one check of a run.

    python benchmarks/validity.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from claimscale import pipeline
from claimscale.config.study import Study
from claimscale.validity import checks
from record import write_record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
import made_up
import traps
from traps import TRAPS

SETS, CLEAN_SETS, COUNTRIES = 10, 200, 3
STRENGTHS: dict[Callable[..., None], list[float]] = {
    traps.outcome_dated_back: [0.1, 0.2, 0.3, 0.4, 0.5],
    traps.a_code_that_is_the_label: [0.8, 0.9, 0.93, 0.97],
    traps.treated_before_the_index: [0.005, 0.01, 0.02, 0.05],
    traps.confirming_drug_before_the_index: [0.1, 0.2, 0.25, 0.3, 0.4],
    traps.nearly_the_same_person: [3, 2, 1],
    traps.a_third_leave: [0.05, 0.1, 0.15, 0.2, 0.25, 0.35],
    traps.coding_habits_change: [1.25, 1.5, 2, 3],
    traps.many_die: [0.05, 0.1, 0.15, 0.2, 0.25, 0.33],
    traps.suspicion_before_the_index: [0.4, 0.5, 0.6, 0.7, 0.8],
}
"""Weaker forms of some traps, weakest first."""


def main() -> None:
    figures: dict[str, float] = {"sets": SETS, "clean_sets": CLEAN_SETS, "kinds_of_trap": len(TRAPS)}
    found, planted = Counter[str](), Counter[str]()
    for check, plant in TRAPS:
        hits = 0
        for seed in range(SETS):
            made = made_up.make(seed)
            plant(made)
            hits += made_up.run(made)[check].warned
        found[check] += hits
        planted[check] += SETS
        print(f"{check:<20} {plant.__name__:<38} found {hits} of {SETS}")
    alarms = Counter[str]()
    for seed in range(1000, 1000 + CLEAN_SETS):
        alarms.update(name for name, one in made_up.run(made_up.make(seed)).items() if one.warned)
    for check in planted:
        figures[f"{check}_sensitivity"] = found[check] / planted[check]
        figures[f"{check}_false_alarms"] = alarms[check] / CLEAN_SETS
        text = f"sensitivity {found[check]} of {planted[check]}, alarms {alarms[check]} of {CLEAN_SETS}"
        print(f"{check:<20} {text}")
    figures["sensitivity"] = sum(found.values()) / sum(planted.values())
    figures["highest_false_alarm_rate"] = max(alarms.values(), default=0) / CLEAN_SETS
    figures |= _weaker()
    figures |= _countries()
    write_record("validity", figures)


def _weaker() -> dict[str, float]:
    """How often weaker forms are found: a share per trap and strength."""
    check_of = {plant: check for check, plant in TRAPS}
    figures = {}
    for plant, strengths in STRENGTHS.items():
        for strength in strengths:
            hits = 0
            for seed in range(SETS):
                made = made_up.make(seed)
                plant(made, strength)
                hits += made_up.run(made)[check_of[plant]].warned
            figures[f"found_{plant.__name__}_{strength:g}"] = hits / SETS
            print(f"{plant.__name__:<38} at {strength:<6g} found {hits} of {SETS}")
    return figures


def _countries() -> dict[str, float]:
    """How often each check warns on simulated claims, per task, and the seconds of a check."""
    warned, checked, seconds = Counter[str](), Counter[str](), []
    for seed in range(COUNTRIES):
        with tempfile.TemporaryDirectory() as folder:
            study = Study.model_validate(
                {
                    "name": "country", "runs_dir": folder, "seed": seed,
                    "source": {"kind": "simulated", "patients": 6000, "hospitals": 8, "min_age": 60},
                    "cohort": {"landmark": "2020-10-01", "splits": {"temporal_date": "2021-01-01"}},
                    "tokens": {"min_patients": 30}, "sizes": ["100k"],
                    "tasks": ["ckd", "heart_failure", "pregabalin"],
                },
                strict=False,
            )  # fmt: skip
            pipeline.prepare(study)
            started = time.monotonic()
            findings = checks.check(study, study.run_directory, lambda what: None)
            seconds.append(time.monotonic() - started)
        checked.update(one.check for one in findings)
        warned.update(one.check for one in findings if one.warned)
        for one in findings:
            if one.warned:
                print(f"country {seed}: {checks.line(one)}")
    shares = {f"simulator_{check}_warned": warned[check] / count for check, count in checked.items()}
    return shares | {"check_seconds_6000_patients_3_tasks": float(np.median(seconds))}


if __name__ == "__main__":
    main()
