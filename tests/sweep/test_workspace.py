"""Subsets of labelled patients: nested, and whole patients, however often each is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from claimscale import study_file
from claimscale.sweep.workspace import Sample, Workspace


def test_a_subset_holds_so_many_patients_with_all_their_dates(write_study, tmp_path: Path) -> None:
    workspace = Workspace(study_file.load(write_study()), tmp_path)
    subjects = np.repeat(np.arange(50), np.arange(50) % 4 + 1)
    rows = np.arange(len(subjects))
    sample = Sample(subjects, rows, rows, rows % 2 == 0)
    smaller: set[int] = set()
    for patients in (1, 7, 30, 50, 80):
        chosen = workspace.subset(sample, patients)
        found = set(chosen.subjects.tolist())
        assert len(found) == min(patients, 50) and smaller <= found
        assert sorted(chosen.rows) == sorted(rows[np.isin(subjects, list(found))])
        smaller = found
    assert sorted(workspace.subset(sample, "all").rows) == sorted(rows)
    assert len(workspace.subset(sample.take(np.zeros(0, int)), 5).rows) == 0
