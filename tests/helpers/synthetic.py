"""Synthetic summaries, as `summary.json` holds them, before the privacy step.

Counts add up as real ones do, small ones among them: what a reader could derive is known here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import yaml

from claimscale.config.study import Study
from claimscale.findings import finding
from claimscale.privacy.gate import suppress
from claimscale.summary.schema import Summary
from claimscale.summary.statistics_schema import Profile
from claimscale.summary.task_schema import TaskEntry

SIZES = {"2.2M": 2_200_413, "4.7M": 4_690_112, "11M": 11_040_903, "32M": 31_880_004, "101M": 100_790_512}
ARMS = ("pretrained", "scratch")
BASELINES = ("lightgbm", "logistic", "outcome_history", "ensemble")
SPLITS = ("held_out", "hospital", "temporal")
SEEDS_OFF = (-0.006, 0.001, 0.005)
STUDY = Study.model_validate(
    yaml.safe_load("""
name: synthetic
source: {kind: tables, path: claims}
cohort: {landmark: 2021-04-01, splits: {fractions: [0.7, 0.1, 0.2], held_out_hospitals: 2}}
sizes: [2.2M, 4.7M, 11M, 32M, 101M]
pretrain: {seeds: [42, 123, 456], mask_probability: 0.3, epochs: 8}
tasks: [ckd, pregabalin]
labels: scarce
finetune: {labelled_patients: [1000, 10000, all]}
baselines: [lightgbm, logistic, outcome_history, ensemble]
compare: {metric: auprc, relative_margin: 0.02, bootstrap_replicates: 2000}
""")
)
STABLE = finding("validity.codes_stable", index=0.02)
DEATHS = finding("validity.competing_death", n=7, kaplan_meier=0.021, incidence=0.019)
HOSTILE = (
    "<script>window.hit=1</script>", "<img src=x onerror='window.hit=1'>", "\"><svg onload=window.hit=1>",
    "</script><script>window.hit=1</script>", "</style><script>window.hit=1</script>", "javascript:window.hit=1",
    "'-window.hit=1-'", "{{ 7 * 7 }}", "{% print(7) %}", "${window.hit=1}", "`+(window.hit=1)+`",
    "<!--<script>window.hit=1", "]]><script>window.hit=1</script>", "\u2028window.hit=1//", "&lt;script&gt;window.hit=1",
    "<iframe srcdoc='<script>parent.hit=1</script>'>", "<a href=javascript:window.hit=1>x</a>",
    "<math><mi xlink:href=javascript:window.hit=1>", "<base href=//evil.example/>", "<link rel=stylesheet href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>", "<form action=//evil.example><input autofocus onfocus=window.hit=1>",
    "<details open ontoggle=window.hit=1>", "<video><source onerror=window.hit=1>", "<body onload=window.hit=1>",
)  # fmt: skip


REASONS = {
    ("one_size", None): "only one size",
    ("one_seed", None): "fewer than two seeds",
    ("not_above_chance", None): "exceed chance level",
    ("few_positives", None): "too few to compare",
    ("few_positives", 4321): "about 4,300 test patients",
    ("underpowered", 987_654): "about 990,000 test patients",
    ("underpowered", None): "More seeds",
    ("borderline", 5000): "close to the margin",
    ("borderline", None): "unlikely to give a verdict",
    ("non_monotone", None): "does not rise with size",
}
"""Why a question may be undecided, with the positives it would take; and words of the answer."""


def undecided(task: dict[str, Any], reason: str, needed: int | None) -> dict[str, Any]:
    """A task's entry as if its verdict were open for that reason."""
    verdict = {
        "verdict": "inconclusive",
        "smallest_sufficient": None,
        "reason": reason,
        "positives_needed": needed,
        "seeds_needed": None,
    }
    recommendation = {"verdict": "inconclusive", "size": None, "against_baseline": None}
    return {**task, "saturation": task["saturation"] | verdict, "recommendation": recommendation}


def hostile_labels(many: int = 50) -> list[str]:
    """Labels that run something wherever they are not escaped, each different."""
    return [f"{HOSTILE[place % len(HOSTILE)]}{place}" for place in range(many)]


def summary(
    tasks: int = 20, seed: int = 0, hospitals: list[str] | None = None, codes: list[str] | None = None,
    largest: int = 30_000, names: list[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A summary with `tasks` questions, five sizes, three test sets; `largest` patients in training."""
    random = np.random.default_rng(seed)
    hospitals = hospitals or [f"H{number:02d}" for number in range(8)]
    splits = {
        "train": largest, "tuning": largest // 7, "held_out": largest // 4, "hospital": int(random.integers(3, 400)),
    }  # fmt: skip
    sizes = list(SIZES)
    entries = [
        task_entry(random, names[number] if names else f"question-{number + 1}", splits, hospitals, number)
        for number in range(tasks)
    ]
    return {
        "name": "synthetic",
        "version": "0.0",
        "dataset": dataset(random, splits, hospitals, codes or [f"ICD10//N{number:03d}" for number in range(30)]),
        "sizes": [
            {
                "name": name, "parameters": SIZES[name], "non_embedding_parameters": SIZES[name] // 2, "layers": 5 + place,
                "width": 128 * (place + 1), "feed_forward": 288 * (place + 1), "train_flops": 6.0 * SIZES[name] * 4e9,
                "tokens": 4_000_000_000, "tokens_per_second": real(1e6 / (place + 1)),
                "validation_loss": real(law(SIZES[name], 4e9)), "validation_loss_new": real(3.2 - 0.1 * place),
                "validation_loss_recurrent": real(1.3 - 0.1 * place), "hours": real(3.1 * 3**place),
                "validation_loss_by_seed": [real(law(SIZES[name], 4e9) + off) for off in SEEDS_OFF],
                "seeds": [42, 123, 456],
                "lr_sweep": [
                    {"learning_rate": rate, "validation_loss": None if rate > 0.01 else real(2.0 + abs(math.log(rate / 0.004)))}
                    for rate in (0.002, 0.004, 0.016)
                ],
            }
            for place, name in enumerate(sizes)
        ],
        "tasks": entries,
        "task_families": [family("disease_tasks", sizes, grows=True), family("medication_tasks", sizes, grows=False)],
        "phenome": phenome(random, sizes, codes),
        "task_size_interaction": {"smallest": sizes[0], "largest": sizes[-1], "estimate": 0.031, "low": 0.004, "high": 0.058, "p": 0.027, "reason": None},
        "convergence": {
            "status": "under_trained", "loss_drop_last_doubling": 0.0123, "learning_rates": dict.fromkeys(sizes, True),
            "generalization_gap": 0.0321, "failed": ["tokens"], "not_measured": [],
        },
        "forecast": forecast(entries),
        "training_losses": [
            {"size": name, "seed": 42, "tokens": [10**7 * step for step in range(1, 41)],
             "loss": [real(2.0 - 0.1 * place + 4 / math.sqrt(step)) for step in range(1, 41)]}
            for place, name in enumerate(sizes)
        ],
        "loss_fit": loss_fit(),
        "checks": [
            {"task": None, "title": "Code drift", "status": "passed", "text": STABLE.model_dump()},
            {"task": entries[0]["name"], "title": "Censoring", "status": "warned", "text": DEATHS.model_dump()},
        ],
        "learning_rate": 0.004,
        "finetune_seeds": [42, 123, 456],
        "provenance": {"versions": {"python": "3.11.0", "torch": "2.13.0"}, "manifests": {"events": "0123456789abcdef"}},
    }  # fmt: skip


KINDS = {"disease": "ICD10//N", "medication": "ATC//C", "procedure": "KUBUN//D"}


def phenome(random: np.random.Generator, sizes: list[str], codes: list[str] | None) -> dict[str, Any]:
    """A phenome of 20 outcomes of each kind: diseases gain from size, the others do not."""
    outcomes = []
    for place, (kind, chapter) in enumerate(
        (kind, chapter) for kind, chapter in KINDS.items() for _ in range(20)
    ):
        gain = (0.04 if kind == "disease" else 0.001) + random.normal(0, 0.01)
        level = random.uniform(0.02, 0.3)
        outcomes.append(
            {
                "code": codes[place % len(codes)] if codes else f"{chapter}{place:02d}",
                "kind": kind, "chapter": chapter, "cases": int(random.integers(50, 2000)),
                "auprc": [real(level * (1 + gain * step)) for step in range(len(sizes))],
                "auroc": [real(0.75 + 0.01 * step) for step in range(len(sizes))],
                "log_loss": [real(0.1 - 0.001 * step) for step in range(len(sizes))],
                "gain": {"difference": real(4 * gain), "low": real(4 * gain - 0.05), "high": real(4 * gain + 0.05)},
                "shrunk_gain": real(3 * gain),
            }
        )  # fmt: skip
    names = {"diseases": "disease", "medications": "medication", "procedures": "procedure"}
    families = [family(name, sizes, grows=kind == "disease") for name, kind in names.items()]
    chapters = [family(chapter, sizes, grows=kind == "disease") for kind, chapter in KINDS.items()]
    return {
        "test_patients": 7000, "min_cases": 50, "gap_days": 30, "horizon_days": 365,
        "sizes": sizes, "families": families, "chapters": chapters, "outcomes": outcomes,
        "interaction": {"difference": 0.03, "low": 0.02, "high": 0.04}, "interaction_p": 0.0001,
        "lightgbm": [
            {
                "code": one["code"], "kind": one["kind"], "training_cases": 25 * (place + 1) ** 2,
                "auprc": one["auprc"][0], "auroc": 0.74,
                "gains": [real(0.3 - 0.02 * place + 0.01 * step) for step in range(len(sizes))],
            }
            for place, one in enumerate(outcomes[::2])
        ],
        "against_lightgbm": [against_lightgbm(size) for size in sizes],
    }  # fmt: skip


def against_lightgbm(size: str) -> dict[str, Any]:
    """A size that is ahead of LightGBM below 850 training cases."""
    gain = {"difference": 0.05, "low": 0.01, "high": 0.09}
    bounds = zip((0, 100, 300, 1000), (100, 300, 1000, None), strict=True)
    return {
        "size": size, "gain": gain, "per_tenfold": {"estimate": -0.2, "low": -0.3, "high": -0.1},
        "break_even": {"estimate": 850.0, "low": 400.0, "high": 2100.0}, "line": (0.3, -0.15),
        "bands": [
            {"low": low, "high": high, "outcomes": 7, "encoder": 0.11, "lightgbm": 0.1, "gain": gain}
            for low, high in bounds
        ],
    }  # fmt: skip


def family(name: str, sizes: list[str], grows: bool) -> dict[str, Any]:
    """A family that is not saturated, or is at the second size."""
    verdict = {
        "verdict": "not_saturated" if grows else "saturated",
        "smallest_sufficient": None if grows else sizes[1], "reason": None, "larger": sizes[-1],
        "smaller": sizes[-2] if grows else sizes[1], "patients_factor": None, "seeds_needed": None,
        "gain": {"difference": 0.05 if grows else 0.004, "low": 0.03 if grows else -0.004, "high": 0.07 if grows else 0.012},
    }  # fmt: skip
    return {
        "name": name, "metric": "auprc", "relative_margin": 0.02, "outcomes": 20, "recipe": verdict, "trained_models": verdict,
        "sizes": [
            {"size": size, "performance": interval(0.1 + 0.01 * place * grows, 0.01), "auroc": interval(0.8, 0.005)}
            for place, size in enumerate(sizes)
        ],
        "too_small": None, "per_doubling": {"difference": 0.02, "low": 0.015, "high": 0.025},
    }  # fmt: skip


def typed(found: Mapping[str, Any]) -> Summary:
    """The summary that a `summary.json` of this content holds."""
    return Summary.model_validate(found)


def task(found: Mapping[str, Any]) -> TaskEntry:
    """One entry of `tasks`."""
    return TaskEntry.model_validate(found)


def shown(found: Mapping[str, Any], profile: Profile = "none") -> dict[str, Any]:
    """The content of `summary.json` after the privacy step."""
    return json.loads(_shown(json.dumps(found), profile))


@cache
def _shown(found: str, profile: Profile) -> str:
    return suppress(Summary.model_validate_json(found), profile).model_dump_json()


def real(value: float) -> float:
    return float(f"{value:.6g}")


def interval(estimate: float, half: float) -> dict[str, float]:
    return {"estimate": real(estimate), "low": real(estimate - half), "high": real(estimate + half)}


def divided(random: np.random.Generator, total: int, parts: int, uneven: float = 0.5) -> list[int]:
    """Whole numbers that add up to the total, some of them small."""
    return random.multinomial(total, random.dirichlet(np.full(parts, uneven))).tolist()


def task_entry(
    random: np.random.Generator, name: str, splits: dict[str, int], hospitals: list[str], number: int
) -> dict[str, Any]:
    asked = {split: int(count * random.uniform(0.6, 0.95)) for split, count in splits.items()}
    asked["temporal"] = asked["held_out"] // 2
    rate = real(random.uniform(0.01, 0.12))
    cases = {split: int(random.binomial(count, rate)) for split, count in asked.items()}
    counts = {
        split: {"patients": asked[split], "index_dates": asked[split], "positives": cases[split], "prevalence": real(cases[split] / max(asked[split], 1))}
        for split in asked
    }  # fmt: skip
    top = random.uniform(0.25, 0.6)
    labelled = {1000: 1000, 10_000: 10_000, "all": asked["train"]}
    results = [
        result(random, arm, size, split, requested, used, top, counts[split])
        for arm, size in models()
        for split in SPLITS
        for requested, used in labelled.items()
        if used <= asked["train"]
    ]
    verdict = ("saturated", "not_saturated", "inconclusive")[number % 3]
    sufficient = "11M" if verdict == "saturated" else None
    return {
        "name": name,
        "kind": "disease" if number % 2 == 0 else "medication",
        "source": "a guideline",
        "has_outcome_codes": True,
        "n_train": asked["train"],
        "n_test": asked["held_out"],
        "positives": cases["held_out"],
        "prevalence": counts["held_out"]["prevalence"],
        "splits": counts,
        "results": results,
        "pretraining_gain": [
            {"size": size, "n_labelled": used, "metric": "auprc", "difference": 0.021, "low": 0.004, "high": 0.038, "p": 0.01, "n_seeds": 3,
             "auroc": {"difference": 0.01, "low": 0.002, "high": 0.018, "p": 0.02}}
            for size in SIZES
            for used in labelled.values()
        ],
        "crossover": [overtaken(size, list(labelled.values()), real(random.uniform(2e3, 9e3))) for size in SIZES],
        "oracle": {"auprc": interval(top + 0.08, 0.01), "auroc": interval(0.9, 0.01)},
        "saturation": {
            "verdict": verdict, "smallest_sufficient": sufficient, "metric": "auprc", "margin": real(0.02 * top),
            "relative_margin": 0.02, "alpha": 0.0025, "reason": "underpowered" if verdict == "inconclusive" else None, "positives_needed": cases["held_out"] + 1400,
            "additional_needed": {"train": 0, "held_out": 1400} if verdict == "inconclusive" else None,
            "hours_saved": 178.2 if sufficient else 0.0, "hours_saved_estimated": False, "flops_saved": 4e18, "reference_size": "101M",
            "cluster_bootstrap": {"verdict": "inconclusive", "smallest_sufficient": None, "hospitals": 30},
            "comparisons": [
                {"smaller": smaller, "larger": "101M", "difference": 0.004, "low": -0.002, "high": 0.01, "upper_95": 0.009,
                 "upper_at_alpha": 0.011, "margin": real(0.02 * top), "n_seeds": 3, "auroc": {"difference": 0.002, "low": -0.003, "high": 0.007, "p": 0.4}}
                for smaller in list(SIZES)[:-1]
            ],
        },
        "recommendation": {
            "verdict": verdict, "size": {"saturated": "11M", "not_saturated": "101M"}.get(verdict),
            "against_baseline": {
                "baseline": "lightgbm", "encoder_arm": "pretrained", "encoder_size": "11M", "baseline_estimate": real(top / 2),
                "encoder_estimate": real(top), "gain": {"difference": 0.02, "low": 0.004, "high": 0.036}, "superior": False,
            },
        },
        "ensemble": None if verdict == "inconclusive" else ENSEMBLE,
        "seed_ensembles": [
            {"arm": arm, "size": size, "runs": 3, "auprc": interval(top + 0.004, 0.01), "auroc": interval(0.81, 0.01),
             "over_lightgbm": None if arm == "lightgbm" else {"difference": 0.017, "low": 0.003, "high": 0.031}}
            for arm, size in models()
        ],
        "per_model": details(random, cases["held_out"], asked["held_out"], hospitals, top),
    }  # fmt: skip


def overtaken(size: str, tested: list[int], patients: float) -> dict[str, Any]:
    """The smallest size never overtakes LightGBM, the largest from the start; the others somewhere between."""
    outcome = {"2.2M": "never_in_range", "101M": "from_the_smallest"}.get(size, "at")
    between, edge = outcome == "at", 0.0 if outcome == "from_the_smallest" else None
    return {
        "size": size, "comparator": "lightgbm", "metric": "auprc", "outcome": outcome, "n_labelled": patients if between else None,
        "low": 1500.0 if between else edge, "high": 9800.0 if between else edge,
        "prob_superior": {"never_in_range": 0.0, "from_the_smallest": 1.0, "at": 0.9}[outcome], "tested_n_labelled": tested,
    }  # fmt: skip


def law(parameters: float, tokens: float) -> float:
    return 1.2 + 13 * parameters**-0.2 + 70 * tokens**-0.25


def loss_fit() -> dict[str, Any]:
    """Ends of pretraining after three numbers of tokens, on the law, with its curves and bands."""

    def curve(places: list[tuple[float, float]]) -> dict[str, list[float]]:
        losses = [law(*place) for place in places]
        ends = {
            "loss": losses,
            "low": [loss - 0.012 for loss in losses],
            "high": [loss + 0.012 for loss in losses],
        }
        return {name: [real(value) for value in values] for name, values in ends.items()}

    budgets, over_tokens = (1e9, 2e9, 4e9), np.geomspace(1e9, 4e9, 25).tolist()
    over_size = np.geomspace(min(SIZES.values()), max(SIZES.values()), 25).tolist()
    return {
        "points": [
            {"size": name, "parameters": parameters, "tokens": int(tokens), "tokens_per_epoch": 5e8, "loss": real(law(parameters, tokens) + off)}
            for name, parameters in SIZES.items() for tokens in budgets for off in SEEDS_OFF
        ],
        "over_size": {"tokens": 4e9, "parameters": over_size, **curve([(count, 4e9) for count in over_size])},
        "over_tokens": [
            {"size": name, "tokens": over_tokens, **curve([(parameters, at) for at in over_tokens])}
            for name, parameters in SIZES.items()
        ],
    }  # fmt: skip


def forecast(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Forecasts of each task; for every third task the largest size was not trained."""
    tasks = [
        {
            "task": entry["name"], "last_trained_size": "11M", "target": "101M", "gain": real(0.0123 + number / 1e4), "low": -0.0045,
            "high": 0.0291, "upper_bound": 0.0322, "margin": 0.0067, "stop": number % 3 == 2, "weights": {"11M": 1.0},
            "observed_gain": {"difference": 0.0087, "low": -0.0013, "high": 0.0187} if number % 3 < 2 else None,
            "residual": None, "made_before_training": True, "within_interval": (True, False, None)[number % 3],
        }
        for number, entry in enumerate(entries)
    ]  # fmt: skip
    shapes = [
        {"name": "constant", "aicc": -56.1, "weight": 0.713},
        {"name": "power_law", "aicc": -54.3, "weight": 0.287},
    ]
    law_of = {"floor": 1.234, "A": 0.567, "a": 0.345, "B": 0.456, "b": 0.234}
    return {
        "prospective": True, "tasks": tasks,
        "scaling_law": {"values": law_of, "low": law_of, "high": law_of, "units": [11.2e6, 2.3e9], "residual_sd": 0.00789},
        "curve_fits": {entry["name"]: shapes for entry in entries},
        "pareto": {entry["name"]: ["2.2M", "11M"] for entry in entries},
    }  # fmt: skip


ENSEMBLE = {
    "encoder_size": "101M", "estimate": 0.371, "difference": 0.018, "low": 0.007, "high": 0.029,
    "over_arm": "pretrained", "over_size": "101M",
}  # fmt: skip


def models() -> list[tuple[str, str | None]]:
    return [*((arm, size) for arm in ARMS for size in SIZES), *((arm, None) for arm in BASELINES)]


def result(
    random: np.random.Generator, arm: str, size: str | None, split: str, requested: int | str, used: int, top: float,
    counts: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    place = list(SIZES).index(size) if size else 1
    estimate = top - 0.03 * (4 - place) - 0.02 * math.log10(40_000 / used) * (2 if arm == "scratch" else 1)
    estimate = max(estimate + random.normal(0, 0.004), 0.02)
    curve = {}
    if split == "held_out" and requested == "all":
        curve = {"curve": curve_points(random, counts["positives"], counts["patients"])}
    return {
        "arm": arm, "size": size, "parameters": SIZES[size] if size else None, "split": split, "n_labelled": used,
        "labelled_patients": requested, "n_seeds": 3, "n_test": counts["patients"], "positives": counts["positives"],
        "seconds": real(30.0 * (1 + place) ** 2), "auprc": interval(estimate, 0.012), "auroc": interval(0.7 + estimate / 3, 0.008),
        "log_loss": interval(0.3 - estimate / 5, 0.01),
        "calibration": {**interval(0.95, 0.1), "intercept": interval(0.01, 0.1), "expected_error": 0.011, **curve},
    }  # fmt: skip


def curve_points(
    random: np.random.Generator, cases: int, patients: int, seeds: int = 3
) -> list[dict[str, Any]]:
    """Ten bins, counts summed over three seeds."""
    in_bins = sorted(divided(random, seeds * cases, 10))
    of_bins = [seeds * patients // 10] * 9 + [seeds * patients - 9 * (seeds * patients // 10)]
    return [
        {"predicted": real((n + 1) / (m + 2)), "observed": real(min(n, m) / m), "predictions": m}
        for n, m in zip(in_bins, of_bins, strict=True)
        if m
    ]


def details(
    random: np.random.Generator, cases: int, patients: int, hospitals: list[str], top: float
) -> list[dict[str, Any]]:
    kinds = [("sex", name) for name in ("Women", "Men")]
    kinds += [("age", name) for name in ("0–39", "40–64", "65–74", "75–84", "85+")]
    kinds += [("hospital", name) for name in hospitals]
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for by in ("sex", "age", "hospital"):
        names = [name for kind, name in kinds if kind == by]
        with_outcome = divided(random, cases, len(names))
        others = divided(random, patients - cases, len(names))
        counts |= {(by, name): (n, n + m) for name, n, m in zip(names, with_outcome, others, strict=True)}
    found = []
    for arm, size in models():
        lead = (arm, size) in (("pretrained", "101M"), ("scratch", "101M"), ("lightgbm", None))
        cells = [f"finetune-x-{size}-{arm}-nall-s{seed}" for seed in (42, 123, 456)]
        entry: dict[str, Any] = {"arm": arm, "size": size, "highlighted": lead, "cells": cells}
        if lead or arm == "pretrained":
            entry |= {
                "curve": curve_points(random, cases, patients),
                "net_benefit": benefits(random, cases, patients),
                "risk_distribution": {
                    "edges": [real(0.001 * 1.5**place) for place in range(17)],
                    "with_outcome": divided(random, cases, 16, 2.0),
                    "without_outcome": divided(random, patients - cases, 16, 2.0),
                },
                "subgroups": [
                    {"by": by, "group": name, "n_test": counts[by, name][1], "positives": counts[by, name][0],
                     "predicted": 0.05, "observed": real(counts[by, name][0] / max(counts[by, name][1], 1)),
                     "auprc": interval(top, 0.05), "auroc": interval(0.8, 0.03)}
                    for by, name in kinds
                ],
            }  # fmt: skip
        found.append(entry)
    return found


def benefits(random: np.random.Generator, cases: int, patients: int, seeds: int = 3) -> list[dict[str, Any]]:
    prevalence, found = cases / max(patients, 1), []
    true = np.sort(random.integers(0, seeds * cases + 1, 12))[::-1]
    false = np.sort(random.integers(0, seeds * (patients - cases) // 2 + 1, 12))[::-1]
    for threshold, n, m in zip(np.geomspace(0.004, 0.3, 12), true.tolist(), false.tolist(), strict=True):
        odds = threshold / (1 - threshold)
        found.append(
            {"threshold": real(threshold), "true_positives": n, "false_positives": m,
             "net_benefit": real((n - m * odds) / (seeds * patients)), "treat_all": real(prevalence - (1 - prevalence) * odds)}
        )  # fmt: skip
    return found


def dataset(
    random: np.random.Generator, splits: dict[str, int], hospitals: list[str], codes: list[str]
) -> dict[str, Any]:
    spread = {"mean": 70.8, "sd": 14.4, "median": 73.1, "q1": 59.3, "q3": 82.3, "min": 39.0, "max": 94.3}
    sexes = {name: divided(random, count, 3, 0.8) for name, count in splits.items()}
    sexes["all"] = [sum(sexes[name][place] for name in splits) for place in range(3)]
    patients = sum(splits.values())

    def group(name: str) -> dict[str, Any]:
        return {
            "patients": patients if name == "all" else splits[name], "hospitals": len(hospitals),
            "sex": dict(zip("FMU", sexes[name], strict=True)),
            **{field: dict(spread) for field in ("age", "visits", "sequence_length", "observation_days")},
            "codes": {"diagnosis": dict(spread), "drug": dict(spread)},
        }  # fmt: skip

    steps = [patients]
    for lost in random.integers(0, 30, 4).tolist():
        steps.insert(0, steps[0] + lost)
    dropped, aside = int(random.integers(0, 20)), int(random.integers(0, 3000))
    names = ("patients", "seen_before_landmark", "in_sampled_hospitals", "with_enough_events", "included")
    return {
        "source": "tables", "patients": patients, "hospitals": len(hospitals), "events": 9_000_000, "tokens": 7_000_000,
        "vocabulary": 9_712, "span": ["2014-04-01", "2022-03-31"],
        "cohort": {
            **dict(zip(names, steps, strict=True)), "hospitals": len(hospitals), "sampled_hospitals": len(hospitals),
            "splits": dict(splits),
        },
        "description": {
            "groups": {name: group(name) for name in ("all", *splits)},
            "histograms": {
                "age_by_sex": {"edges": [5 * place for place in range(20)],
                               "counts": {sex: divided(random, sexes["all"][place], 19) for place, sex in enumerate("FMU")}},
                "sequence_length": {"edges": [20 * place for place in range(25)], "counts": divided(random, patients, 24)},
                "observation_years": {"edges": [real(place / 3) for place in range(25)], "counts": divided(random, patients, 24)},
                "patients_per_hospital": sorted(divided(random, patients, len(hospitals)), reverse=True),
            },
        },
        "codes": [{"code": code, "type": "diagnosis", "patients": int(random.integers(1, 20_000))} for code in codes],
        "quality": {
            "rows_in": 9_000_000 + dropped + aside, "used": 9_000_000, "quarantined": {"unreadable date": aside},
            "dropped": {"same patient, time, code, value and visit": dropped}, "repaired": {"non-canonical code": 77}, "warnings": {"code not in masters": 5},
            "source_rows": {"drugs": {"rows": 5_000_000, "events": 4_999_996, "without_event": {"comment": 4}}},
        },
    }  # fmt: skip
