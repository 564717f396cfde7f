"""The index dates of the phenome: those of the tasks, by the same rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.config.study import Study
from claimscale.tasks.index_dates import DATES

FILE = "phenome.parquet"


def write(index: pa.Table, study: Study, labels: Path) -> None:
    """Write the eligible dates of `index` (index_dates.COLUMNS): DATES, by patient and day."""
    assert study.phenome is not None
    day = index["index_day"].to_numpy()
    recency = study.cohort.recency_days
    seen = np.full(len(day), True) if recency is None else index["last_contact"].to_numpy() > day - recency
    known = index["first_day"].to_numpy() <= day - study.phenome.min_history_days
    dead = index["dead"].to_numpy(zero_copy_only=False)
    eligible = index.filter(pa.array(seen & known & ~dead)).select(DATES)
    eligible = eligible.sort_by([("subject_id", "ascending"), ("index_day", "ascending")])
    pq.write_table(eligible, labels / FILE, write_page_checksum=True)


def read(labels: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Patients and index days (days since 1970-01-01) of one split, int64 and int32 [n]."""
    table = pq.read_table(labels / FILE)
    chosen = table.filter(pa.array(np.asarray(table["split"].to_pylist()) == split))
    return chosen["subject_id"].to_numpy(), chosen["index_day"].to_numpy().astype(np.int32)
