"""Patients of any source as a package reads them: their tokens, shard by shard, and their index dates."""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ibis import _

from claimscale.codes.systems import BIRTH, SEX_PREFIX, full_prefixes, split
from claimscale.constants import SEXES
from claimscale.engine import Engine
from claimscale.events import observation
from claimscale.events.table import read_events
from claimscale.packages.config import PackageConfig
from claimscale.tasks import index_dates
from claimscale.tasks.index_dates import DATES
from claimscale.tasks.labels import label_index_dates
from claimscale.tokens.special_tokens import FIRST_SEX
from claimscale.tokens.store import TokenStore, encode_shard
from claimscale.tokens.vocabulary import TokenLookup, Vocabulary, code_map

UNKNOWN_SEX = "U"
DAY_RANGE = 1 << 20
"""More than the days of any calendar, so that a row and a day make one number."""


@dataclass(frozen=True)
class CodeCounts:
    """How many events of a source are read, and by a shorter code; how many are not.

    `unread_codes` are the commonest codes without a token, `unread_systems` the code systems of which no code
    has one; both with their events.
    """

    read: int
    of_ancestor: int
    unread: int
    unread_codes: list[tuple[str, int]]
    unread_systems: dict[str, int]


class PatientShard:
    """The patients of one shard of events, with the package's tokens.

    `store` has the tokens; events without one are counted per patient by `unread_share`.
    """

    def __init__(self, file: Path, vocabulary: Vocabulary, lookup: TokenLookup) -> None:
        subjects, births, sexes = _people(file)
        encoded = encode_shard(file, subjects, lookup)
        offsets = np.searchsorted(encoded.row, np.arange(len(subjects) + 1)).astype(np.int64)
        self.store = TokenStore(
            subjects=subjects,
            offsets=offsets,
            token=encoded.token.astype(np.int32),
            age_days=(encoded.day - births[encoded.row]).astype(np.int32),
            visit=encoded.visit.astype(np.int32),
            available=encoded.available.astype(np.int32),
            birth_day=births.astype(np.int32),
            sex=sexes,
            vocabulary=vocabulary,
        )
        self._read = encoded.row * DAY_RANGE + encoded.available
        self._unread = np.sort(encoded.dropped_row * DAY_RANGE + encoded.dropped_available)

    def unread_share(self, rows: np.ndarray, index_days: np.ndarray, window: int | None = None) -> np.ndarray:
        """Share of the events known at the index day that have no token, float64 [n]; 0 without events.

        With a `window`, of those that became known in so many days up to it.
        """
        unread, read = _until(self._unread, rows, index_days), self.known_events(rows, index_days)
        if window is not None:
            unread -= _until(self._unread, rows, index_days - window)
            read -= self.known_events(rows, index_days - window)
        return unread / np.maximum(unread + read, 1)

    def known_events(self, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
        """How many events with a token are known at the index day, int64 [n]."""
        return _until(self._read, rows, index_days)

    def last_day(self) -> np.ndarray:
        """The last day on which something became known of each patient, int64 [P]; birth without events."""
        found = self.store.birth_day.astype(np.int64)
        np.maximum.at(found, self._read // DAY_RANGE, self._read % DAY_RANGE)
        np.maximum.at(found, self._unread // DAY_RANGE, self._unread % DAY_RANGE)
        return found


def shards(events: Path, vocabulary: Vocabulary, lookup: TokenLookup) -> Iterator[PatientShard]:
    """The patients of an events folder, one shard after another; memory is that of one shard.

    `lookup` is a result of `lookup_of`.
    """
    for file in sorted((events / "data").glob("*.parquet")):
        yield PatientShard(file, vocabulary, lookup)


def code_counts(
    events: Path, engine: Engine, vocabulary: Vocabulary, lookup: TokenLookup, most: int = 20
) -> CodeCounts:
    """How the events of a folder are read."""
    table = read_events(engine, events).filter(~_.demographic)
    counts = engine.to_arrow(table.group_by("code", "suspected").aggregate(events=_.count()))
    return count_codes(counts, vocabulary, lookup, most)


def count_codes(counts: pa.Table, vocabulary: Vocabulary, lookup: TokenLookup, most: int = 20) -> CodeCounts:
    """As `code_counts`, from the numbers of `events` of each `code` and `suspected`."""
    by_code = {(row["code"], row["suspected"]): row["events"] for row in counts.to_pylist()}
    unread = {key: n for key, n in by_code.items() if key not in lookup.token}
    commonest = sorted(unread.items(), key=lambda item: (-item[1], item[0]))[:most]
    known = {split(code)[0] for code in vocabulary.codes}
    systems: dict[str, int] = {}
    for (code, _suspected), events_of_code in unread.items():
        if split(code)[0] not in known:
            systems[split(code)[0] or code] = systems.get(split(code)[0] or code, 0) + events_of_code
    return CodeCounts(
        sum(n for key, n in by_code.items() if key in lookup.token),
        sum(n for key, n in by_code.items() if key in lookup.of_ancestor),
        sum(unread.values()),
        [(code, n) for (code, _suspected), n in commonest],
        dict(sorted(systems.items(), key=lambda item: -item[1])),
    )


def dates_on(events: ir.Table, days: Sequence[int]) -> ir.Table:
    """Each of the index days for every patient: DATES, with an empty split."""
    patients = events.select("subject_id").distinct()
    each = ibis.memtable(pa.table({"index_day": pa.array(days, pa.int32())}))
    return patients.cross_join(each).mutate(split=ibis.literal("")).select(DATES)


def dates_at_visits(events: ir.Table) -> ir.Table:
    """Each day on which something became known of a patient: DATES, with an empty split."""
    known = events.filter(~_.demographic).select("subject_id", index_day=_.available_day).distinct()
    return known.mutate(split=ibis.literal("")).select(DATES)


def eligible_dates(events: Path, engine: Engine, config: PackageConfig, dates: ir.Table) -> pa.Table:
    """The index dates on which enough is known, sorted by patient and day.

    Columns: those of `index_dates.COLUMNS`; `excluded`, why the patient is not among those whom the question
    is about, or null; and, if there is a question, those of its labels.
    """
    table = read_events(engine, events)
    known = engine.to_arrow(index_dates.known_at(table, dates, config.min_events))
    known = observation.with_stated(known, events).sort_by(
        [("subject_id", "ascending"), ("index_day", "ascending")]
    )
    if config.task is None or config.task.labels is not None or not len(known):
        return known.append_column("excluded", pa.nulls(len(known), pa.string()))
    return engine.to_arrow(label_index_dates(config.task, known, table, config.recency_days))


def lookup_of(events: Path, engine: Engine, config: PackageConfig, vocabulary: Vocabulary) -> TokenLookup:
    """The tokens of the codes of an events folder; a code that must not be seen has none of an ancestor."""
    return allowed_lookup(
        code_map(read_events(engine, events), engine, config.tokens.rollup), config, vocabulary
    )


def allowed_lookup(mapping: pa.Table, config: PackageConfig, vocabulary: Vocabulary) -> TokenLookup:
    """As `lookup_of`, from a `code_map`."""
    found = TokenLookup.of(vocabulary, mapping)
    unseen = full_prefixes(config.hidden_codes) + full_prefixes(config.withheld_codes)
    leaking = {key for key in found.of_ancestor if key[0].startswith(unseen)} if unseen else set()
    if not leaking:
        return found
    kept = {key: token for key, token in found.token.items() if key not in leaking}
    return TokenLookup(kept, found.of_ancestor - leaking)


def _until(keys: np.ndarray, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
    """How many sorted keys (row * DAY_RANGE + day) each row has up to its day, int64 [n]."""
    first = np.searchsorted(keys, rows * DAY_RANGE - DAY_RANGE // 2)
    return np.searchsorted(keys, rows * DAY_RANGE + index_days, side="right") - first


def _people(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Subject ids of a shard (ascending), birth days, and sex tokens.

    A patient with two recorded sexes, or an unknown one, has the token of an unknown sex.
    """
    table = pq.read_table(file, columns=["subject_id", "time", "code"], read_dictionary=["code"])
    subjects = np.unique(table["subject_id"].to_numpy())
    code = table["code"].cast(pa.string())
    is_birth = pc.equal(code, BIRTH)
    born = table.filter(is_birth)
    births = np.full(len(subjects), np.iinfo(np.int64).max)
    days = born["time"].to_numpy().astype("datetime64[D]").astype(np.int64)
    np.minimum.at(births, np.searchsorted(subjects, born["subject_id"].to_numpy()), days)
    sexed = table.filter(pc.starts_with(code, SEX_PREFIX))
    names = np.array(
        [text[len(SEX_PREFIX) :] for text in sexed["code"].cast(pa.string()).to_pylist()], dtype=str
    )
    rows = np.searchsorted(subjects, sexed["subject_id"].to_numpy())
    unknown = FIRST_SEX + SEXES.index(UNKNOWN_SEX)
    sexes = np.full(len(subjects), unknown, np.int32)
    recorded = [np.bincount(rows[names == name], minlength=len(subjects)) > 0 for name in ("F", "M")]
    others = np.bincount(rows[~np.isin(names, ["F", "M"])], minlength=len(subjects)) > 0
    for name, one, other in (("F", recorded[0], recorded[1]), ("M", recorded[1], recorded[0])):
        sexes[one & ~other & ~others] = FIRST_SEX + SEXES.index(name)
    return subjects, births, sexes
