"""The oracle: true risks of the labelled patients of a simulated study, which no model can improve on.

`oracle/<task>.parquet`: subject_id, prediction_time, split, risk, standard_error (Monte Carlo), for the
held-out patients, or a random sample of them where they are many: a risk takes 500 simulated futures. Only
simulated claims have this stage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from claimscale import artifacts
from claimscale.codes.systems import DEATH, full_prefixes
from claimscale.cohort.selection import HELD_OUT
from claimscale.config.sources import SimulatedSource
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.seeded_random import hashed_order
from claimscale.simulator.oracle import LabelRule, Oracle
from claimscale.simulator.population import Population
from claimscale.tasks.labels import read_labels

MAX_PATIENTS = 20_000
"""Held-out patients of a task whose risks are computed: minutes instead of hours for a nation."""


def build(study: Study, labels: Path, target: Path) -> None:
    """Write the true risks of every task whose label rule the simulator can compute.

    A task with confirmation by drugs or procedures, with index dates at every visit, with death as its
    outcome, or with a label file has none.
    """
    source = study.source
    assert isinstance(source, SimulatedSource)
    oracle = Oracle(Population(source.patients, source.hospitals, study.seed, source.min_age))
    counts = artifacts.read_json(labels / "labels.json")
    for task in study.tasks:
        is_known = task.labels is None and task.index == "landmark" and not task.confirmation_codes
        is_known = is_known and DEATH not in full_prefixes(task.outcome)
        if is_known and counts[task.name]["insufficient_data"] is None:
            pq.write_table(_risks(task, oracle, labels, study.seed), target / f"{task.name}.parquet")


def _risks(task: Task, oracle: Oracle, labels: Path, seed: int) -> pa.Table:
    table = read_labels(labels, task.name).filter(pc.field("split") == HELD_OUT)
    if len(table) > MAX_PATIENTS:  # each has one index date
        chosen = hashed_order(table["subject_id"].to_pylist(), f"oracle/{seed}")[:MAX_PATIENTS]
        table = table.take(np.sort(chosen))
    prefixes = full_prefixes(task.outcome)
    subject = table["subject_id"].to_numpy()
    index = table["prediction_time"].to_numpy().astype("datetime64[D]")
    month_end = (index.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
    # The window starts after the gap, and not before the end of the index date's month.
    gap = np.maximum(task.gap_days, (month_end - index).astype(np.int64))
    risk, standard_error = np.empty(len(table)), np.empty(len(table))
    for days in np.unique(gap).tolist():
        rows = np.flatnonzero(gap == days)
        rule = LabelRule(
            outcome_codes=[code for code in oracle.codes if code.startswith(prefixes)],
            gap_days=days,
            horizon_days=task.gap_days + task.horizon_days - days,
            confirmation_days=task.confirmation_days,
        )
        risk[rows], standard_error[rows] = oracle.risk(subject[rows], index[rows].astype(np.int64), rule)
    keys = {name: table[name] for name in ("subject_id", "prediction_time", "split")}
    return pa.table({**keys, "risk": risk, "standard_error": standard_error})
