"""True risks are those of the labels, also where the window opens with the month after the index date."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from claimscale.cohort import selection as cohort
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.events.build import build
from claimscale.tasks import oracle
from claimscale.tasks.labels import build_labels, read_labels


def test_risks_add_up_to_the_labels_without_a_gap_and_with_one(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {"kind": "disease", "outcome": {"ICD10": ["I10", "E11", "M17"]}, "washout_days": 90}
    study = Study.model_validate(
        {
            "name": "truth",
            "source": {"kind": "simulated", "patients": 1200, "hospitals": 3, "min_age": 70},
            "cohort": {"landmark": "2020-10-01", "splits": {"fractions": [0.2, 0.1, 0.7]}},
            "sizes": ["80k"],
            "tasks": [
                {"name": "no_gap", "gap_days": 0, **common},
                {"name": "gap", "gap_days": 45, **common},
                {"name": "visits", "index": "every_visit", "first_index_date": "2019-10-01", **common},
            ],
        },
        strict=False,
    )
    for name in ("events", "cohort", "labels", "oracle"):
        (tmp_path / name).mkdir()
    build(study, engine, tmp_path / "events")
    cohort.build(study, engine, tmp_path / "events", tmp_path / "cohort")
    build_labels(study, engine, tmp_path / "events", tmp_path / "cohort", tmp_path / "labels")
    oracle.build(study, tmp_path / "labels", tmp_path / "oracle")
    assert {file.stem for file in (tmp_path / "oracle").iterdir()} == {"no_gap", "gap"}
    for name in ("no_gap", "gap"):
        labels = {
            (row["subject_id"], row["prediction_time"]): row["boolean_value"]
            for row in read_labels(tmp_path / "labels", name).to_pylist()
            if row["split"] == "held_out"
        }
        risks = pq.read_table(tmp_path / "oracle" / f"{name}.parquet").to_pylist()
        assert {(row["subject_id"], row["prediction_time"]) for row in risks} == labels.keys()
        risk = np.array([row["risk"] for row in risks])
        assert ((risk >= 0) & (risk <= 1)).all() and risk.sum() > 10
        spread = np.sqrt((risk * (1 - risk)).sum())
        assert abs(sum(labels.values()) - risk.sum()) < 4 * spread
    every = pq.read_table(tmp_path / "oracle" / "gap.parquet").to_pylist()
    monkeypatch.setattr(oracle, "MAX_PATIENTS", 50)
    (tmp_path / "sample").mkdir()
    oracle.build(study, tmp_path / "labels", tmp_path / "sample")
    sample = pq.read_table(tmp_path / "sample" / "gap.parquet").to_pylist()
    assert len(sample) == 50 < len(every) and all(row in every for row in sample)
