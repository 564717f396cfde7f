"""Raw events as columns of numbers, and their sort order: the form in which they are validated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from claimscale.sources.raw import EVENT_SCHEMA

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MISSING = np.iinfo(np.int64).min
ORDER = ("time", "code", "numeric_value", "hospital_id", "visit_id", "available_at", "suspected")
"""The events of a patient are sorted by these columns, so that equal events are neighbours."""
TEXTS = ("code", "hospital_id", "visit_id", "source_table", "issue", "unlisted_patient_id")


@dataclass(frozen=True)
class EventColumns:
    """Events of whole patients in columns of int64.

    Attributes:
        subject: subject ids; 0 where `columns["no_subject"]` is 1.
        columns: texts as places in their sorted dictionary, -1 where null; times in microseconds and
            `numeric_value` as the bits of a float32, MISSING where null.
        texts: the dictionary of each text column.
    """

    subject: Int64s
    columns: dict[str, Int64s]
    texts: dict[str, pa.Array]

    def where(self, rows: Bools | Int64s) -> EventColumns:
        """The events at these places, or where a mask is true."""
        if rows.dtype == np.bool_:
            if rows.all():
                return self
            rows = np.flatnonzero(rows)  # once for all columns
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        return EventColumns(self.subject.take(rows), columns, self.texts)

    def first_of_subjects(self) -> Int64s:
        """The places of the first event of each subject, if events are sorted by subject."""
        return np.flatnonzero(np.diff(self.subject, prepend=self.subject[:1] - 1))

    def __len__(self) -> int:
        return len(self.subject)

    @classmethod
    def of(cls, table: pa.Table) -> EventColumns:
        """Raw events with `subject_id` and the columns of `raw.DETAILS`."""
        columns: dict[str, Int64s] = {}
        texts: dict[str, pa.Array] = {}
        for name in TEXTS:
            columns[name], texts[name] = _sorted_dictionary(table[name])
        for name in ("time", "available_at"):
            columns[name] = _filled(table[name].cast(pa.timestamp("us")).cast(pa.int64()))
        value = table["numeric_value"].combine_chunks()
        bits = value.fill_null(0).to_numpy().astype(np.float32).view(np.int32).astype(np.int64)
        columns["numeric_value"] = np.where(_valid(value), bits, MISSING)
        columns["suspected"] = (
            table["suspected"].combine_chunks().fill_null(False).to_numpy(False).astype(int)
        )
        subject = table["subject_id"].cast(pa.int64()).combine_chunks()
        columns["no_subject"] = (~_valid(subject)).astype(np.int64)
        return cls(subject.fill_null(0).to_numpy(), columns, texts)

    def table(self) -> pa.Table:
        """The events with the columns of EVENT_SCHEMA; texts stay dictionaries."""
        found = self.columns
        value = found["numeric_value"]
        floats = np.where(value == MISSING, 0, value).astype(np.int32).view(np.float32)
        no_subject = found["no_subject"].astype(bool)
        arrays = {
            "subject_id": pa.array(self.subject, mask=no_subject if no_subject.any() else None),
            "time": _timestamps(found["time"]),
            "code": self.text("code"),
            "numeric_value": pa.array(floats, mask=value == MISSING),
            "hospital_id": self.text("hospital_id"),
            "visit_id": self.text("visit_id"),
            "available_at": _timestamps(found["available_at"]),
            "suspected": pa.array(found["suspected"].astype(bool)),
        }
        return pa.table({name: arrays[name] for name in EVENT_SCHEMA})

    def text(self, name: str) -> pa.DictionaryArray:
        place = self.columns[name]
        indices = pa.array(place.astype(np.int32), mask=place < 0)
        return pa.DictionaryArray.from_arrays(indices, self.texts[name])


def sort_events(events: EventColumns) -> EventColumns:
    """The events sorted by subject, then by the columns of ORDER."""
    local, subjects = _numbers_from_zero(events.subject)
    found = [events.columns[name] for name in ORDER]
    # A column of one value decides nothing, and takes as much memory as any other.
    keys = np.column_stack([key for key in found if len(key) and key.min() < key.max()] or [found[0]])
    return events.where(sorted_places(local, subjects, keys))


def _numbers_from_zero(subject: Int64s) -> tuple[Int64s, int]:
    """The subjects as small numbers in the same order, and the number of these numbers."""
    low, high = (int(subject.min()), int(subject.max())) if len(subject) else (0, 0)
    if high - low < 2 * len(subject):  # subject ids without large gaps
        return subject - low, high - low + 1
    subjects, numbers = np.unique(subject, return_inverse=True)
    return numbers.astype(np.int64), len(subjects)


@njit(cache=True, nogil=True)
def sorted_places(subject: Int64s, subjects: int, keys: npt.NDArray[np.int64]) -> Int64s:
    """The places of the rows in sorted order: by subject (0 to subjects - 1), then by the columns of `keys`.

    A counting sort groups the rows of each patient. A merge sort then sorts each group.
    """
    rows, width = keys.shape
    bounds = np.zeros(subjects + 1, np.int64)
    for row in range(rows):
        bounds[subject[row] + 1] += 1
    for number in range(subjects):
        bounds[number + 1] += bounds[number]
    free = bounds[:-1].copy()
    places = np.empty(rows, np.int64)
    for row in range(rows):
        places[free[subject[row]]] = row
        free[subject[row]] += 1
    spare = np.empty(rows, np.int64)
    for number in range(subjects):
        low, high = bounds[number], bounds[number + 1]
        run = 1
        while run < high - low:
            for left in range(low, high, 2 * run):
                middle, right = min(left + run, high), min(left + 2 * run, high)
                one, other = left, middle
                for place in range(left, right):
                    take_one = other >= right
                    if one < middle and other < right:
                        take_one = True
                        first, second = places[one], places[other]
                        for column in range(width):
                            if keys[first, column] != keys[second, column]:
                                take_one = keys[first, column] < keys[second, column]
                                break
                    if take_one:
                        spare[place] = places[one]
                        one += 1
                    else:
                        spare[place] = places[other]
                        other += 1
            places[low:high] = spare[low:high]
            run *= 2
    return places


def _sorted_dictionary(column: pa.ChunkedArray) -> tuple[Int64s, pa.Array]:
    """The place of each value in the sorted dictionary, -1 where null; and the dictionary."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    if column.num_chunks == 0:
        return np.zeros(0, np.int64), pa.array([], pa.string())
    values = column.chunk(0).dictionary.cast(pa.string())
    order = pc.call_function("array_sort_indices", [values]).to_numpy()
    rank = np.empty(len(order) + 1, np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1
    places = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in column.chunks])
    return rank[places], values.take(pa.array(order))


def _filled(column: pa.ChunkedArray) -> Int64s:
    return column.combine_chunks().fill_null(MISSING).to_numpy()


def _valid(column: pa.Array) -> Bools:
    return column.is_valid().to_numpy(zero_copy_only=False)


def _timestamps(microseconds: Int64s) -> pa.Array:
    return pa.array(microseconds, mask=microseconds == MISSING).cast(pa.timestamp("us"))
