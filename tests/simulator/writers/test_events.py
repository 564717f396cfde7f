from __future__ import annotations

import json

import meds
import pyarrow.parquet as pq


def test_the_packages_schemas_accept_all(known, make_events, written):
    folder = written("meds", known.events, make_events(3, 20, first_subject=1000))
    for shard in sorted((folder / "data").glob("*.parquet")):
        meds.DataSchema.validate(pq.read_table(shard))
    meds.CodeMetadataSchema.validate(pq.read_table(folder / meds.code_metadata_filepath))
    meds.SubjectSplitSchema.validate(pq.read_table(folder / meds.subject_splits_filepath))
    meds.DatasetMetadataSchema.validate(json.loads((folder / meds.dataset_metadata_filepath).read_text()))


def test_events_are_unchanged_and_codes_and_subjects_complete(known, make_events, written):
    other = make_events(3, 20, first_subject=1000)
    folder = written("meds", known.events, other)
    assert pq.read_table(folder / "data" / "000000.parquet").equals(known.events)
    codes = pq.read_table(folder / meds.code_metadata_filepath)["code"].to_pylist()
    assert set(known.events["code"].to_pylist()) <= set(codes)
    assert len(codes) == len(set(codes))
    splits = pq.read_table(folder / meds.subject_splits_filepath)
    subjects = [*known.events["subject_id"].unique().to_pylist(), *other["subject_id"].unique().to_pylist()]
    assert splits["subject_id"].to_pylist() == subjects
    assert set(splits["split"].to_pylist()) == {"train"}
