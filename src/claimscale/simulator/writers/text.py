"""Columns of text, and files of sorted lines."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from claimscale.errors import BadInput
from claimscale.simulator.writers.base import write_bytes
from claimscale.simulator.writers.claims import NONE, first_days

ERAS = ((18_017, 5, 2018), (6_947, 4, 1988), (-15_713, 3, 1925), (-20_974, 2, 1911))
"""First day, number and year 0 of Reiwa, Heisei, Showa and Taisho; earlier dates are Meiji (1, 1867)."""


def join(*columns: pa.Array | str | np.ndarray, separator: str = "") -> pa.Array:
    """Join columns of text and constants row by row; at least one must be a column."""
    joined = pc.binary_join_element_wise(  # type: ignore[attr-defined]  # made at run time
        *(pa.array(column, pa.string()) if isinstance(column, np.ndarray) else column for column in columns),
        separator,
    )
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def numbers(values: np.ndarray, width: int = 1) -> pa.Array:
    """Small integers from 0 as text, padded with zeros."""
    texts = [f"{value:0{width}d}" for value in range(int(values.max(initial=0)) + 1)]
    return choose(texts, values)


def choose(texts: Iterable[str], positions: np.ndarray) -> pa.Array:
    """The text at each position; bool positions choose between two texts."""
    return pa.array(list(texts), pa.string()).take(positions.astype(np.int32))


def texts_of_days(day: np.ndarray, wareki: bool = False, missing: str = "") -> pa.Array:
    """Days as YYYYMMDD, or as GYYMMDD (era, year of the era, month, day).

    >>> texts_of_days(np.array([18_016, 18_017]), wareki=True).to_pylist()
    ['4310430', '5010501']
    """
    known = day[day != NONE]
    first, last = (int(known.min()), int(known.max())) if known.size else (0, 0)
    texts = [missing, *(_text(date, wareki) for date in range(first, last + 1))]
    return choose(texts, np.where(day == NONE, 0, day - first + 1))


def texts_of_months(month: np.ndarray, wareki: bool = False) -> pa.Array:
    """Months as YYYYMM or GYYMM; the first day of a month determines its era."""
    occurring, position = np.unique(month, return_inverse=True)
    return choose((_text(int(day), wareki)[:-2] for day in first_days(occurring)), position)


@functools.cache
def _text(day: int, wareki: bool) -> str:
    year, month, date = dt.date.fromordinal(dt.date(1970, 1, 1).toordinal() + day).isoformat().split("-")
    if wareki:
        era, base = next(((era, base) for first, era, base in ERAS if day >= first), (1, 1867))
        year = f"{era}{int(year) - base:02d}"
    return year + month + date


def facility_codes(hospitals: pa.Array) -> pa.Array:
    """Prefecture (2 digits) and institution code (7): H017 is institution 0000017, in a made-up
    prefecture."""
    digits, indices = hospital_numbers(hospitals, "receipts")
    codes = [f"{int(number) % 47 + 1:02d}{int(number):07d}" for number in digits]
    return pa.array(codes, pa.string()).take(indices)


def hospital_numbers(hospitals: pa.Array, use: str) -> tuple[list[str], pa.Array]:
    """The digits of each distinct hospital, and the position of every hospital's digits.

    Raises BadInput for hospitals that are not an H with a number of up to seven digits.
    """
    encoded = hospitals.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    for name in names:
        if not (name[:1] == "H" and name[1:].isdecimal() and len(name) <= 8):
            raise BadInput(f"hospital {name}: {use} need an H and a number")
    return [name[1:] for name in names], encoded.indices


@dataclass
class Lines:
    """Lines of one or more files, added in any order and written in the order of their keys.

    A key is (place of the visit < 2**24, rank in the visit < 128, order in the rank < 2**32). All lines
    together are below 2 GiB.
    """

    encoding: str = "cp932"
    chunks: list[pa.Array] = field(default_factory=list)
    keys: list[np.ndarray] = field(default_factory=list)

    def add(self, lines: pa.Array, place: np.ndarray, rank: int, order: np.ndarray | int = 0) -> None:
        """Add lines without their line ends."""
        key = (place.astype(np.int64) << 39) | (rank << 32) | order
        self.keys.append(np.broadcast_to(key, len(lines)))
        self.chunks.append(join(lines, "", separator="\r\n").cast(pa.binary()))

    def add_texts(self, texts: Iterable[str], place: np.ndarray, rank: int) -> None:
        """Add lines with characters beyond ASCII, in the files' encoding."""
        self.keys.append((place.astype(np.int64) << 39) | (rank << 32))
        encoded = [(text + "\r\n").encode(self.encoding) for text in texts]
        self.chunks.append(pa.array(encoded, pa.binary()))

    def write(self, files: Iterable[Path], starts: np.ndarray) -> None:
        """Write one file from each place in `starts` (ascending, the first 0) to the next."""
        key = np.concatenate(self.keys)
        order = np.argsort(key, kind="stable")
        lines = pa.concat_arrays(self.chunks).take(order)
        self.chunks.clear()
        _, offsets, content = lines.buffers()
        ends = np.frombuffer(offsets, np.int32, len(lines) + 1, lines.offset * 4)
        cuts = np.searchsorted(key[order], starts.astype(np.int64) << 39)
        cuts = ends[np.append(cuts, len(lines))]
        view = memoryview(content)
        for file, first, last in zip(files, cuts[:-1], cuts[1:], strict=True):
            if first < last:
                write_bytes(file, view[first:last])
