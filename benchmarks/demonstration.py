"""The verdicts of the demonstration against those of a far larger run, and in other simulated countries.

The study is `examples/demo.yaml`; only its pretrainings and its phenome are run. The large run has the same
number of training patients and ten times the test patients. Every other seed is another country: other
patients, hospitals and splits. A verdict is opposite if one run calls a size sufficient that another one
shows to be too small.

Prints a line per country and writes `benchmarks/results/demonstration.json`. Run with
`make bench NAME=demonstration` (hours on two cores; a stopped run resumes), or
`demonstration.py [--runs FOLDER] [--seeds SEED ...] [--keep]`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from claimscale import pipeline
from claimscale.artifacts import write_json
from claimscale.config import loading
from claimscale.config.study import Study, parameter_count
from claimscale.evaluation.intervals import difference, interval
from claimscale.evaluation.phenome import PhenomeRun, evaluate_phenome, read_phenome
from claimscale.evaluation.size_decision import SizeCurve
from claimscale.progress import Silent
from record import write_record

STUDY = Path(__file__).parents[1] / "examples" / "demo.yaml"
LARGE = {
    "source.patients": 78_000,
    "cohort.splits": "{fractions: [0.0933, 0.0133, 0.8934], held_out_hospitals: 1}",
    "phenome.min_cases": 150,
}
Verdicts = dict[str, dict[str, Any]]


def verdicts(study: Study) -> Verdicts:
    """By family: the sufficient size in both scopes, the largest that is shown too small, and the gains."""
    pipeline.run_cells(study, "phenome", Silent())
    seeds, sizes = study.finetune.seeds, study.sizes
    cells = study.run_directory / "cells"
    runs = [PhenomeRun(size, seed, cells / f"phenome-{size}-s{seed}") for size in sizes for seed in seeds]
    parameters = {size: float(parameter_count(size)) for size in sizes}
    margin = study.compare.relative_margin
    found = evaluate_phenome(read_phenome(runs, sizes), parameters, margin, study.seed)
    return {
        family.name: {
            "recipe": family.verdict.smallest_sufficient,
            "as_trained": family.as_trained.smallest_sufficient,
            "too_small": family.too_small.smaller if family.too_small else None,
            "gains": gains(family.curve),
        }
        for family in found.families
    }


def gains(curve: SizeCurve) -> dict[str, list[float]]:
    """Gain of the largest size over each other, as a share of its metric: estimate, low, high.

    They show whether countries differ by more than their intervals say.
    """
    found, largest = {}, curve.scores[curve.largest]
    for size, scores in curve.scores.items():
        if (gained := difference(largest, scores)) is not None and size != curve.largest:
            one, whole = interval(gained), float(largest.values.mean())
            found[size] = [value / whole for value in (one.estimate, *one.two_sided())]
    return found


def opposite(one: Verdicts, other: Verdicts) -> list[str]:
    """Families in which a size is sufficient in one run and too small in the other."""
    found: set[str] = set()
    for name in one.keys() & other.keys():
        for first, second in ((one[name], other[name]), (other[name], one[name])):
            limit = parameter_count(second["too_small"]) if second["too_small"] else 0
            sufficient = [first[scope] for scope in ("recipe", "as_trained")]
            if any(size is not None and parameter_count(size) <= limit for size in sufficient):
                found.add(name)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[42, *range(101, 120)])
    parser.add_argument("--keep", action="store_true", help="keep the run directories")
    arguments = parser.parse_args()
    results: dict[str, Verdicts] = {}
    for seed in (None, *arguments.seeds):
        name = "large" if seed is None else f"country-{seed}"
        kept = Path(arguments.runs) / f"demonstration-{name}.json"
        if not kept.exists():
            settings = {"name": f"demonstration-{name}", "runs_dir": arguments.runs}
            settings |= LARGE if seed is None else {"seed": seed}
            study = loading.load(STUDY, [f"{key}={value}" for key, value in settings.items()])
            write_json(kept, verdicts(study))
            if not arguments.keep:
                shutil.rmtree(study.run_directory)
        results[name] = json.loads(kept.read_text())
        print(name, json.dumps(results[name]), flush=True)
    large, figures = results.pop("large"), {"countries": len(results)}
    figures["opposite"] = sum(bool(opposite(large, one)) for one in results.values())
    for name, truth in large.items():
        for scope in ("recipe", "as_trained", "too_small"):
            same = sum(one.get(name, {}).get(scope) == truth[scope] for one in results.values())
            silent = sum(not one.get(name, {}).get(scope) for one in results.values())
            figures[f"{name}_{scope}_equal"], figures[f"{name}_{scope}_undecided"] = same, silent
    for key, value in figures.items():
        print(f"{key:<40}{value}")
    write_record("demonstration", figures)


if __name__ == "__main__":
    main()
