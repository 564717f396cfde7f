"""The token store: all events of the cohort as integers, in flat memory-mapped arrays.

The tokens of a patient are sorted by available day, then day, then token. The tokens up to an available day
are therefore what was known on that day.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from claimscale.artifacts import write_json
from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.cohort.selection import read_patients
from claimscale.config.study import Study
from claimscale.constants import SEXES
from claimscale.engine import Engine
from claimscale.events.table import EPOCH, FIRST_YEAR, day_number, read_events
from claimscale.tokens.special_tokens import FIRST_SEX
from claimscale.tokens.vocabulary import TokenLookup, Vocabulary, build_vocabulary, code_map

Int64s = npt.NDArray[np.int64]

DROPPED = -1
EARLIEST_DAY = day_number(EPOCH.replace(year=FIRST_YEAR))
DAY_BITS, TOKEN_BITS = 17, 29
"""Two days since 1900 and a token fit one int64, so that sorting keys sorts all three."""


@dataclass(frozen=True)
class TokenStore:
    """All tokens of P patients, N in total; arrays are memory-mapped and read-only.

    Attributes:
        subjects: int64 [P], subject ids, ascending.
        offsets: int64 [P + 1], start and end of each patient's tokens.
        token: uint16 or int32 [N], token ids, without demographics.
        age_days: int32 [N], age at the event.
        visit: int32 [N], number of the claims date, from 0 per patient in stored order.
        available: int32 [N], day number on which the event became known.
        birth_day: int32 [P], day number of birth.
        sex: int32 [P], token id of the sex.
        vocabulary: the meaning of token ids.
    """

    subjects: Int64s
    offsets: Int64s
    token: npt.NDArray[np.integer]
    age_days: npt.NDArray[np.int32]
    visit: npt.NDArray[np.int32]
    available: npt.NDArray[np.int32]
    birth_day: npt.NDArray[np.int32]
    sex: npt.NDArray[np.int32]
    vocabulary: Vocabulary

    @classmethod
    def load(cls, folder: Path) -> TokenStore:
        names = ("subjects", "offsets", "token", "age_days", "visit", "available", "birth_day", "sex")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
        return cls(**arrays, vocabulary=Vocabulary.load(folder / "vocabulary.parquet"))

    def __len__(self) -> int:
        return len(self.subjects)

    def rows_of(self, subject_ids: Int64s) -> Int64s:
        """Positions of the patients in `subjects`. Raises KeyError if one is not in the store."""
        rows = np.searchsorted(self.subjects, subject_ids)
        found = rows < len(self.subjects)
        found[found] = self.subjects[rows[found]] == np.asarray(subject_ids)[found]
        if not found.all():
            raise KeyError(f"{np.count_nonzero(~found)} of {len(found)} patients are not in the token store")
        return rows


def build(study: Study, engine: Engine, events: Path, cohort: Path, target: Path) -> None:
    """Build the vocabulary, then write the tokens of all cohort patients, shard by shard.

    `tokens.json` has the number of tokens, of those whose code is too rare and that have the token of an
    ancestor, and of events that are dropped because no ancestor has a token.
    """
    table = read_events(engine, events)
    patients = read_patients(cohort)
    in_cohort = table.semi_join(ibis.memtable(patients.select(["subject_id"])), "subject_id")
    mapping = code_map(in_cohort, engine, study.tokens.rollup)
    landmark = day_number(study.cohort.landmark)
    vocabulary = build_vocabulary(table, patients, mapping, landmark, study, engine)
    vocabulary.save(target / "vocabulary.parquet")

    lookup = TokenLookup.of(vocabulary, mapping)
    subjects = patients["subject_id"].to_numpy()
    birth_day = patients["birth_day"].to_numpy()
    counts = np.zeros(len(subjects), dtype=np.int64)
    rare = of_ancestor = 0
    token_type = np.uint16 if vocabulary.size <= 2**16 else np.int32
    with (
        NpyWriter(target / "token.npy", token_type) as token_file,
        NpyWriter(target / "age_days.npy", np.int32) as age_file,
        NpyWriter(target / "visit.npy", np.int32) as visit_file,
        NpyWriter(target / "available.npy", np.int32) as available_file,
    ):
        for shard in sorted((events / "data").glob("*.parquet")):
            encoded = encode_shard(shard, subjects, lookup)
            rare += len(encoded.dropped_row)
            of_ancestor += encoded.of_ancestor
            counts += np.bincount(encoded.row, minlength=len(subjects))
            token_file.append(encoded.token)
            age_file.append(encoded.day - birth_day[encoded.row])
            visit_file.append(encoded.visit)
            available_file.append(encoded.available)
    sex = np.array([FIRST_SEX + SEXES.index(name) for name in patients["sex"].to_pylist()], dtype=np.int32)
    np.save(target / "subjects.npy", subjects)
    np.save(target / "offsets.npy", np.concatenate([[0], np.cumsum(counts)]))
    np.save(target / "birth_day.npy", birth_day)
    np.save(target / "sex.npy", sex)
    counted = {
        "tokens": int(counts.sum()),
        "of_ancestor": of_ancestor,
        "dropped_rare": rare,
        "vocabulary": vocabulary.size,
    }
    write_json(target / "tokens.json", counted)


@dataclass(frozen=True)
class EncodedShard:
    """The n tokens of one shard, in stored order.

    `of_ancestor` is how many have the token of an ancestor. `dropped_row` and `dropped_available` are the
    patients and available days of the events without a token; demographics are not counted.
    """

    row: Int64s
    token: Int64s
    day: Int64s
    available: Int64s
    visit: Int64s
    of_ancestor: int
    dropped_row: Int64s
    dropped_available: Int64s


def encode_shard(shard: Path, subjects: Int64s, lookup: TokenLookup) -> EncodedShard:
    """The tokens of a shard of events: patients in `subjects` and codes of the lookup, sorted per patient."""
    columns = ["subject_id", "time", "code", "available_at", "suspected"]
    table = pq.read_table(shard, columns=columns, read_dictionary=["code"])
    subject_id = table["subject_id"].to_numpy()
    code = table.unify_dictionaries()["code"].combine_chunks()
    token, is_demographic, of_ancestor = _tokens(code, table["suspected"].to_numpy(), lookup)
    row = np.minimum(np.searchsorted(subjects, subject_id), len(subjects) - 1)
    in_cohort = subjects[row] == subject_id
    kept = in_cohort & (token != DROPPED)
    dropped = in_cohort & ~kept & ~is_demographic
    available = _day_numbers(table["available_at"])
    dropped_row, dropped_available = row[dropped], available[dropped]

    row, token, available = row[kept], token[kept], available[kept]
    day = _day_numbers(table["time"])[kept]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    key = _pack(available, day, token)
    sort_within(key, np.append(starts, len(row)))
    available, day, token = _unpack(key)
    visit = _visits(available, day, starts)
    of_ancestor = int(np.count_nonzero(of_ancestor & kept))
    return EncodedShard(row, token, day, available, visit, of_ancestor, dropped_row, dropped_available)


@njit(cache=True)
def sort_within(key: Int64s, bounds: Int64s) -> None:
    """Sort the keys in place, from each bound to the next."""
    for place in range(len(bounds) - 1):
        key[bounds[place] : bounds[place + 1]].sort()


def _tokens(
    code: pa.DictionaryArray, suspected: npt.NDArray[np.bool_], lookup: TokenLookup
) -> tuple[Int64s, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of each event: its token, or DROPPED; whether it is demographic; whether the token is an ancestor's."""
    distinct = code.dictionary.to_pylist()
    keys = [[(text, flag) for text in distinct] for flag in (False, True)]
    token = np.array([[lookup.token.get(key, DROPPED) for key in row] for row in keys], dtype=np.int64)
    of_ancestor = np.array([[key in lookup.of_ancestor for key in row] for row in keys])
    demographic = np.array([text == BIRTH or text.startswith(SEX_PREFIX) for text in distinct])
    flag, place = suspected.astype(np.int64), code.indices.to_numpy()
    return token[flag, place], demographic[place], of_ancestor[flag, place]


def _day_numbers(times: pa.ChunkedArray) -> Int64s:
    return times.to_numpy().astype("datetime64[D]").astype(np.int64)


def _pack(available: Int64s, day: Int64s, token: Int64s) -> Int64s:
    return (
        ((available - EARLIEST_DAY) << (DAY_BITS + TOKEN_BITS)) | ((day - EARLIEST_DAY) << TOKEN_BITS) | token
    )


def _unpack(key: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    day = (key >> TOKEN_BITS) & (2**DAY_BITS - 1)
    return (key >> (DAY_BITS + TOKEN_BITS)) + EARLIEST_DAY, day + EARLIEST_DAY, key & (2**TOKEN_BITS - 1)


def _visits(available: Int64s, day: Int64s, starts: Int64s) -> Int64s:
    """The number of each claims date: changes of (available day, day), from 0 per patient."""
    changes = np.ones(len(day), dtype=bool)
    changes[1:] = (available[1:] != available[:-1]) | (day[1:] != day[:-1])
    changes[starts] = True
    count = np.cumsum(changes)
    return count - np.repeat(count[starts], np.diff(np.append(starts, len(day))))


class NpyWriter:
    """Writes a one-dimensional `.npy` file in parts, so that it need not fit in memory."""

    def __init__(self, file: Path, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._length = 0
        self._stream = file.open("wb")
        self._write_header()

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # NumPy reserves space in the header for a longer length.
        self._stream.seek(0)
        self._write_header()
        self._stream.close()

    def append(self, values: npt.NDArray[np.integer]) -> None:
        self._stream.write(np.ascontiguousarray(values, dtype=self._dtype).tobytes())
        self._length += len(values)

    def _write_header(self) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(self._stream, header)
