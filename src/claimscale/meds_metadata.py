"""The metadata tables of MEDS 0.4: codes, description of the dataset, and splits.

Source: Medical-Event-Data-Standard/meds 0.4, https://medical-event-data-standard.github.io.
"""

from __future__ import annotations

from collections.abc import Iterable

import meds
import pyarrow as pa

from claimscale import __version__


def codes_table(codes: Iterable[str]) -> pa.Table:
    """`metadata/codes.parquet`: each code once, sorted, without descriptions."""
    schema = meds.CodeMetadataSchema.schema()
    names = pa.array(sorted(set(codes)), pa.string())
    nulls = {field.name: pa.nulls(len(names), field.type) for field in schema}
    return pa.table({**nulls, "code": names}, schema=schema)


def description(dataset: str) -> dict[str, object]:
    """`metadata/dataset.json`. It has no time, so that the same events give the same bytes."""
    return {
        "dataset_name": dataset,
        "etl_name": "claimscale",
        "etl_version": __version__,
        "meds_version": meds.__version__,
        "raw_source_id_columns": ["visit_id"],
        "site_id_columns": ["hospital_id"],
        "other_extension_columns": ["available_at", "suspected"],
    }


def splits_table(subjects: pa.Array | pa.ChunkedArray, splits: Iterable[str]) -> pa.Table:
    """`subject_splits.parquet`: the split of each subject."""
    return pa.table([subjects, pa.array(splits, pa.string())], schema=meds.SubjectSplitSchema.schema())
