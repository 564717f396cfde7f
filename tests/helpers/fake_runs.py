"""A small run whose truth is known: ckd grows with size, pregabalin is flat; predictions on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.config.study import Study
from claimscale.evaluation.forecast import ForecastRecord
from claimscale.evaluation.predictions import CellResult
from claimscale.evaluation.pretrained_sizes import LearningRateTrial
from claimscale.findings import Finding, finding
from claimscale.privacy.release import release
from claimscale.summary.build import StudyResults, build_summary
from claimscale.summary.dataset_schema import DatasetEntry
from claimscale.summary.result_schema import SkippedSubsetsEntry
from claimscale.summary.schema import Summary
from claimscale.summary.statistics_schema import CheckEntry
from claimscale.summary.task_entries import InsufficientData, split_counts

PARAMETERS = {"100k": 100_412, "200k": 199_310, "400k": 401_020, "800k": 797_555, "1.6M": 1_602_004}
SIZES = list(PARAMETERS)
LABELLED = {300: 300, 1000: 1000, "all": 4100}
TASKS = {
    "ckd": {"kind": "disease", "outcome": {"ICD10": ["N18"]}, "source": "KDIGO 2012"},
    "pregabalin": {"kind": "medication", "outcome": {"ATC": ["N02BF02", "N03AX16"]}},
}
SPREAD = {"mean": 70.8, "sd": 14.4, "median": 73.1, "q1": 59.3, "q3": 82.3, "min": 39.0, "max": 94.3}


def group(women: int, men: int) -> dict[str, Any]:
    return {
        "patients": women + men,
        "hospitals": 8,
        "sex": {"F": women, "M": men, "U": 0},
        **dict.fromkeys(("age", "visits", "sequence_length", "observation_days"), SPREAD),
        "codes": {"diagnosis": SPREAD, "drug": SPREAD},
    }


DESCRIPTION = {
    "groups": {
        "all": group(3034, 2957),
        "train": group(2100, 1900),
        "held_out": group(903, 1051),
        "hospital": group(31, 6),
    },
    "histograms": {
        "age_by_sex": {"edges": [30, 35, 40, 45], "counts": {"F": [1900, 1128, 6], "M": [957, 1200, 800]}},
        "sequence_length": {"edges": [0, 40, 80], "counts": [3000, 2991]},
        "observation_years": {"edges": [0, 2, 4], "counts": [5000, 991]},
        "patients_per_hospital": [4000, 1200, 754, 30, 7],
    },
}
"""Counts as they are: small ones are for the privacy gate to hide."""
DATASET = {
    "source": "simulated",
    "description": DESCRIPTION,
    "patients": 5991,
    "hospitals": 8,
    "events": 801_234,
    "tokens": 512_345,
    "vocabulary": 618,
    "span": ["2017-01-04", "2021-12-28"],
    "quality": {
        "rows_in": 805_300,
        "used": 801_234,
        "quarantined": {"unreadable date": 1200, "before birth": 36},
        "dropped": {"same patient, time, code, value and visit": 2830},
        "repaired": {"non-canonical code": 77},
        "warnings": {"code not in masters": 5},
    },
}
STABLE = finding("validity.codes_stable", index=0.02)
CENSORED = finding("validity.censored", share=0.33, naive=0.02, corrected=0.03)
CHECKS = [
    CheckEntry(task=None, title="Code drift", status="passed", text=STABLE),
    CheckEntry(task="ckd", title="Censoring", status="warned", text=CENSORED),
]
Noise = Callable[[str, str, str | None, int], float]


def growing_and_flat(task: str, arm: str, size: str | None, labelled: int) -> float:
    """Noise on the true logit: less of it is a better model."""
    few = 0.12 * np.log(4100 / labelled)
    if size is None:
        return 0.75 + few
    step = 0.12 if task == "ckd" else 0.0
    return 0.3 + step * (4 - SIZES.index(str(size))) + few * (3 if arm == "scratch" else 1)


@dataclass
class FakeRun:
    """What a summary is built from; tests change it before they build."""

    study: Study
    folder: Path
    cells: list[CellResult]
    pretraining: list[dict[str, Any]]
    label_counts: dict[str, dict[str, dict[str, int]]]
    dataset: Mapping[str, Any] = field(default_factory=lambda: DATASET)
    oracle: dict[str, Path] = field(default_factory=dict)
    insufficient_data: dict[str, InsufficientData] = field(default_factory=dict)
    skipped_subsets: dict[str, SkippedSubsetsEntry] = field(default_factory=dict)
    checks: list[CheckEntry] = field(default_factory=lambda: CHECKS)
    lr_sweeps: dict[str, list[LearningRateTrial]] = field(default_factory=dict)
    notes: list[Finding] = field(default_factory=list)
    forecasts: list[ForecastRecord] = field(default_factory=list)

    def summary(self) -> Summary:
        """The summary after the privacy step; it is written to the folder."""
        results = StudyResults(
            cells=self.cells,
            pretraining=self.pretraining,
            lr_sweeps=self.lr_sweeps,
            dataset=DatasetEntry.model_validate(self.dataset),
            label_counts={
                task: {
                    split: split_counts(
                        counts["patients"], counts.get("index_dates", counts["patients"]), counts["positives"]
                    )
                    for split, counts in splits.items()
                }
                for task, splits in self.label_counts.items()
            },
            oracle=self.oracle,
            insufficient_data=self.insufficient_data,
            skipped_subsets=self.skipped_subsets,
            checks=self.checks,
            notes=self.notes,
            forecasts=self.forecasts,
        )
        built = build_summary(self.study, self.folder, results)
        return release(built, self.study.privacy.profile, self.folder)

    def summarise(self) -> dict[str, Any]:
        """The same, as `summary.json` holds it."""
        return self.summary().model_dump(mode="json")


def make_run(
    folder: Path,
    *,
    noise: Noise = growing_and_flat,
    patients: int = 4000,
    seeds: tuple[int, ...] = (42, 123),
    sizes: tuple[str, ...] = tuple(SIZES),
    labelled: tuple[Any, ...] = tuple(LABELLED),
    splits: tuple[str, ...] = ("held_out", "hospital"),
    oracle: bool = True,
    baselines: tuple[str, ...] = ("lightgbm",),
    **settings: Any,
) -> FakeRun:
    """Write predictions of every cell; `patients` are tested per split."""
    study = Study.model_validate(
        {
            "name": "demo",
            "source": {"kind": "simulated"},
            "cohort": {"landmark": "2021-01-01"},
            "sizes": list(sizes),
            "pretrain": {"seeds": list(seeds)},
            "labels": "all_dates" if tuple(labelled) == ("all",) else "scarce",
            "finetune": {"labelled_patients": list(labelled), "seeds": list(seeds)},
            "tasks": [{"name": name, **task} for name, task in TASKS.items()],
            "compare": {"bootstrap_replicates": 200},
            "baselines": list(baselines),
            **settings,
        },
        strict=False,
    )
    run = FakeRun(study, folder, [], [], {})
    for place, task in enumerate(TASKS):
        random = np.random.default_rng([1, place])
        logits = -2.2 + 1.6 * random.normal(size=patients * len(splits))
        labels = random.random(len(logits)) < sigmoid(logits)
        columns = {
            "subject_id": np.arange(len(logits)),
            "prediction_time": np.full(len(logits), np.datetime64("2020-12-31", "us")),
            "split": np.repeat(splits, patients),
            "boolean_value": labels,
        }
        train = {"patients": 4100, "positives": 610}
        run.label_counts[task] = {"train": train, "tuning": {"patients": 600, "positives": 80}}
        if oracle:
            run.oracle[task] = folder / f"oracle-{task}.parquet"
            pq.write_table(pa.table({**columns, "risk": sigmoid(logits)}), run.oracle[task])
        encoders: list[Any] = [(arm, size) for arm in study.finetune.initialization for size in sizes]
        models = [*encoders, *((name, None) for name in baselines)]
        for number, (arm, size) in enumerate(models):
            for requested in labelled:
                for seed in seeds:
                    used = LABELLED[requested]
                    own = np.random.default_rng([2, place, number, used, seed])
                    blurred = logits + noise(task, arm, size, used) * own.normal(size=len(logits))
                    file = folder / f"{task}-{arm}-{size}-n{requested}-s{seed}.parquet"
                    columns["predicted_boolean_probability"] = sigmoid(blurred)
                    pq.write_table(pa.table(columns), file)
                    seconds = 3.0 + number
                    run.cells.append(CellResult(task, arm, size, used, requested, seed, file, seconds))
    run.pretraining = [pretraining_run(size, seed) for size in sizes for seed in seeds]
    return run


def pretraining_run(size: str, seed: int) -> dict[str, Any]:
    rank = SIZES.index(size)
    loss = 2.1 + 1.4 * 0.75**rank + 0.004 * (seed % 7)
    return {
        "size": size, "seed": seed, "parameters": PARAMETERS[size],
        "non_embedding_parameters": PARAMETERS[size] // 2,
        "layers": 2 + rank, "width": 64 * (1 + rank), "feed_forward": 128 * (1 + rank),
        "train_flops": 6.0 * PARAMETERS[size] * 4e6, "tokens": 4_000_000,
        "tokens_per_second": 4e4 / (1 + rank), "seconds": 40.0 * 2**rank,
        "validation_loss": loss, "validation_loss_new": loss + 1.1, "validation_loss_recurrent": loss - 0.9,
    }  # fmt: skip


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


@pytest.fixture(scope="session")
def fake_run() -> Callable[..., FakeRun]:
    return make_run


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeRun, dict[str, Any]]:
    """The run with its summary; neither may be changed by a test."""
    run = make_run(tmp_path_factory.mktemp("demo"))
    return run, run.summarise()
