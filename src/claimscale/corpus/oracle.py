"""The true risks of the labelled patients of a simulated study: the best that any model could predict.

`oracle/<task>.parquet`: subject_id, prediction_time, split, risk, standard_error (Monte Carlo), for the
held-out patients. Only simulated claims have this stage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from claimscale.codes import full_prefixes
from claimscale.corpus import tasks
from claimscale.corpus.cohort import HELD_OUT
from claimscale.corpus.events import day_number
from claimscale.simulator.truth import Oracle
from claimscale.study import SimulatedSource, Study


def build(study: Study, labels: Path, target: Path) -> None:
    """Write the true risks of every task whose label rule the simulator can follow.

    A confirmation by drugs or procedures it cannot: such a task has no file.
    """
    source = study.source
    assert isinstance(source, SimulatedSource)
    truth = Oracle(source.patients, source.hospitals, study.seed, source.youngest)
    for task in study.tasks:
        if task.confirm_codes:
            continue
        table = tasks.read(labels, task.name).filter(pc.field("split") == HELD_OUT)
        prefixes = full_prefixes(task.outcome)
        risk, standard_error = truth.risk(
            subject_ids=table["subject_id"].to_numpy(),
            prediction_days=table["prediction_time"].to_numpy().astype("datetime64[D]").astype(np.int64),
            landmark_day=day_number(study.cohort.landmark),
            outcome_codes=[code for code in truth.codes if code.startswith(prefixes)],
            gap_days=task.gap_days,
            horizon_days=task.horizon_days,
            confirm_days=task.confirm_days,
        )
        keys = table.select(["subject_id", "prediction_time", "split"])
        columns = {**{name: keys[name] for name in keys.column_names}, "risk": risk}
        pq.write_table(
            pa.table({**columns, "standard_error": standard_error}), target / f"{task.name}.parquet"
        )
