"""When patients could be seen, as their source says it: insured from one day to another.

A source that says nothing has observation from the first contact to the last, which the events themselves
tell; only what a source states adds to them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STATED = b"stated by the source"
"""Key of the metadata of `observation.parquet`: yes or no."""


def write(observed: pa.Table, stated: bool, file: Path) -> None:
    """Write subject_id, start and end (timestamps, the last day included) and who says so."""
    marked = observed.replace_schema_metadata({STATED: b"yes" if stated else b"no"})
    pq.write_table(marked, file, write_page_checksum=True)


def with_stated(index: pa.Table, events: Path) -> pa.Table:
    """Index dates (columns as of `tasks.index_dates`) with what the source states about observation.

    `first_day`, which decides who has history enough, becomes the stated start, if that is not after the
    index date: later starts were not known then, and stay as the contacts have them. `observed_until`, which
    decides who is censored and nothing else, becomes the stated end. A source that states nothing, and
    patients whom it leaves out, change nothing.
    """
    table = pq.read_table(events / "observation.parquet")
    if not len(table) or (table.schema.metadata or {}).get(STATED) != b"yes":
        return index
    table = table.sort_by("subject_id")
    subjects = table["subject_id"].to_numpy()
    start, end = (
        table[name].to_numpy().astype("datetime64[D]").astype(np.int32) for name in ("start", "end")
    )
    wanted = index["subject_id"].to_numpy()
    place = np.minimum(np.searchsorted(subjects, wanted), len(subjects) - 1)
    listed = subjects[place] == wanted
    first_day, observed_until = (index[name].to_numpy() for name in ("first_day", "observed_until"))
    known = listed & (start[place] <= index["index_day"].to_numpy())
    changed = {
        "first_day": np.where(known, start[place], first_day),
        "observed_until": np.where(listed, end[place], observed_until),
    }
    for name, values in changed.items():
        position = index.schema.get_field_index(name)
        index = index.set_column(position, name, pa.array(values, index[name].type))
    return index
