"""Scores of the few patients of one request, with the events, tokens and rules of `claimscale predict`.

For JSON, the Ibis expressions of `predict` are compiled once, at the start. Receipts run its own stages.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import artifacts
from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.config.execution import EngineSettings
from claimscale.config.sources import ReceiptSource
from claimscale.engine.compiled import CompiledQuery, connection
from claimscale.errors import BadInput
from claimscale.events.build import ShardResult, validate_shard
from claimscale.events.source_ids import read_source_ids
from claimscale.events.table import day_number, read_events, with_days
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import (
    CodeCounts,
    PatientShard,
    allowed_lookup,
    code_counts,
    count_codes,
    dates_on,
    eligible_dates,
    lookup_of,
    shards,
)
from claimscale.inference.predict import predict_dates
from claimscale.inference.serving.schema import MOST_PATIENTS, Event, Patients, Prediction, Scores, UnreadCode
from claimscale.inference.source_file import SourceFile, parts_of, prepared
from claimscale.sources import meds
from claimscale.sources.raw import EVENT_SCHEMA
from claimscale.tasks import index_dates
from claimscale.tasks.labels import label_dates, with_months
from claimscale.tokens.special_tokens import FIRST_CODE
from claimscale.tokens.vocabulary import map_codes

DATES = pa.schema([("subject_id", pa.int64()), ("split", pa.string()), ("index_day", pa.int32())])
COUNTS = pa.schema([("code", pa.string()), ("suspected", pa.bool_()), ("events", pa.int64())])
SHOWN_CODES = 20


class Scorer:
    """Scores requests with one package, one after another."""

    def __init__(self, package: ModelPackage, masters: Path | None = None) -> None:
        self.package, self.masters = package, masters
        config = package.config
        if config.task is None:
            raise BadInput(f"{package.folder}: holds an encoder without a question; it gives embeddings only")
        self._digest = package.digest
        self._lock = threading.Lock()
        self._connection = connection()
        events = with_days(ibis.table(EVENT_SCHEMA, name="events"))
        known = index_dates.known_at(
            events, ibis.table(ibis.schema(DATES), name="dates"), config.min_events
        ).order_by("subject_id", "index_day")
        self._raw = CompiledQuery(meds.events_of(ibis.table(EVENT_SCHEMA, name="rows")))
        self._known = CompiledQuery(known)
        months = known.mutate(month_start=ibis.literal(0, "int32"), month_end=ibis.literal(0, "int32"))
        dates = ibis.table(months.schema(), name="known")
        has_rules = config.task.labels is None
        labels = label_dates(config.task, dates, events, config.recency_days)
        self._labels = CompiledQuery(labels) if has_rules else None

    def warm_up(self) -> None:
        """Score a made-up patient, so that the first request does not wait for compiled code to load."""
        date, codes = self.package.config.landmark, self.package.vocabulary.codes[FIRST_CODE:]
        days = [
            date - dt.timedelta(days=30 * number) for number in range(1, self.package.config.min_events + 2)
        ]
        facts = [(days[-1] - dt.timedelta(days=60 * 365), BIRTH), (None, f"{SEX_PREFIX}F")]
        visits = list(zip(days, itertools.cycle(codes), strict=False))
        rows = [
            (None if day is None else dt.datetime.combine(day, dt.time()), code)
            for day, code in facts + visits
        ]
        events = [Event.model_construct(subject_id=1, time=time, code=code) for time, code in rows]
        with contextlib.suppress(BadInput):  # a vocabulary of codes that no validation accepts
            self.score_events(Patients.model_construct(date=date, events=events))

    def score_events(self, patients: Patients) -> Scores:
        """The scores of patients given as events. Raises BadInput if nobody can be scored."""
        with self._lock, tempfile.TemporaryDirectory(prefix="claimscale-") as scratch:
            return self._score_events(patients, Path(scratch))

    def score_receipts(self, content: bytes, date: dt.date) -> Scores:
        """The scores of the patients of a receipt file (UKE). Raises BadInput if it cannot be read."""
        with self._lock, tempfile.TemporaryDirectory(prefix="claimscale-") as scratch:
            folder = Path(scratch)
            (folder / "receipt.uke").write_bytes(content)
            try:
                return self._score_receipts(folder, date)
            except BadInput as error:
                raise BadInput(str(error).replace(f"{folder}/", "").replace(str(folder), "upload")) from None

    def _score_events(self, patients: Patients, scratch: Path) -> Scores:
        rows = _rows(patients.events)
        raw = self._raw.run(self._connection, rows=rows).rename_columns({"patient": "subject_id"})
        raw = raw.append_column("unlisted_patient_id", pa.nulls(len(raw), pa.string()))
        pq.write_table(raw, scratch / "raw.parquet")
        result = validate_shard(0, [scratch / "raw.parquet"], dt.date.today(), (), scratch)
        not_used = _not_used(result)
        if without_time := len(rows) - len(raw):
            not_used[meds.NO_TIME] += without_time
        if not result.reconciliation.used:
            causes = ", ".join(f"{count:,} {reason}" for reason, count in not_used.most_common())
            raise BadInput(f"events: none of {len(rows):,} is usable ({causes})")
        file = scratch / "00000.parquet"
        events = pq.read_table(file, schema=EVENT_SCHEMA.to_pyarrow())
        counts = _code_counts(events)
        config, vocabulary = self.package.config, self.package.vocabulary
        lookup = allowed_lookup(map_codes(counts, config.tokens.rollup), config, vocabulary)
        shard = PatientShard(file, vocabulary, lookup)
        predictions = predict_dates(self.package, shard, self._eligible(events, patients.date))
        numbers = {event.subject_id for event in patients.events}
        return self._scores(
            [predictions],
            dict.fromkeys(sorted(numbers)),
            (len(rows), result.reconciliation.used, not_used),
            count_codes(counts, vocabulary, lookup, SHOWN_CODES),
        )

    def _eligible(self, events: pa.Table, date: dt.date) -> pa.Table:
        """As `patients.eligible_dates`, on one date. No source of JSON states observation periods."""
        subjects = np.unique(events["subject_id"].to_numpy())
        days = np.full(len(subjects), day_number(date) - 1, np.int32)
        dates = pa.table([subjects, pa.array([""] * len(subjects)), days], schema=DATES)
        known = self._known.run(self._connection, events=events, dates=dates)
        if self._labels is None or not len(known):
            return known.append_column("excluded", pa.nulls(len(known), pa.string()))
        return self._labels.run(self._connection, events=events, known=with_months(known))

    def _score_receipts(self, folder: Path, date: dt.date) -> Scores:
        masters = None if self.masters is None else str(self.masters)
        receipts = ReceiptSource(kind="receipt", path=str(folder), masters=masters)
        source = SourceFile(source=receipts, engine=EngineSettings())
        package = self.package
        with prepared(package, source, date) as (events, engine):
            dates = dates_on(read_events(engine, events), [day_number(date) - 1])
            found = eligible_dates(events, engine, package.config, dates)
            lookup = lookup_of(events, engine, package.config, package.vocabulary)
            quality = artifacts.read_json(events / "quality.json")
            tables = [
                predict_dates(package, shard, part)
                for shard in shards(events, package.vocabulary, lookup)
                for part in parts_of(found, shard)
            ]
            table = read_source_ids(events)
            assert table is not None, "the patients of receipts have text ids"
            ids = table.to_pydict()
            if len(ids["subject_id"]) > MOST_PATIENTS:
                raise BadInput(f"receipts: must be of {MOST_PATIENTS} patients or fewer")
            codes = code_counts(events, engine, package.vocabulary, lookup, SHOWN_CODES)
        not_used = Counter(quality["quarantined"]) + Counter(quality["dropped"])
        names = dict(zip(ids["subject_id"], ids["source_id"], strict=True))
        return self._scores(tables, names, (quality["rows_in"], quality["used"], not_used), codes)

    def _scores(
        self,
        tables: Sequence[pa.Table],
        names: dict[int, str | None],
        rows: tuple[int, int, Counter[str]],
        codes: CodeCounts,
    ) -> Scores:
        """The answer. `names` are the patients of the request; `rows` came in, are used, and are not used."""
        predictions = [one for table in tables for one in _predictions(table, names)]
        if not predictions:
            few = self.package.config.min_events
            raise BadInput(f"none of {len(names):,} patients has {few} known events before the date")
        scored = {one.subject_id for one in predictions}
        return Scores(
            package=self._digest,
            predictions=predictions,
            not_scored=[name or str(number) for number, name in names.items() if number not in scored],
            rows_in=rows[0],
            rows_used=rows[1],
            rows_not_used=dict(rows[2].most_common()),
            unread_codes=[UnreadCode(code=code, events=count) for code, count in codes.unread_codes],
        )


def _rows(events: Sequence[Event]) -> pa.Table:
    """The events as a table of MEDS data."""
    schema = EVENT_SCHEMA.to_pyarrow()
    return pa.table({name: [getattr(event, name) for event in events] for name in schema.names}, schema)


def _not_used(result: ShardResult) -> Counter[str]:
    return result.reconciliation.quarantined + result.reconciliation.dropped


def _code_counts(events: pa.Table) -> pa.Table:
    """The number of `events` of each `code` and `suspected`, without demographics, in sorted order."""
    pairs = zip(events["code"].to_pylist(), events["suspected"].to_pylist(), strict=True)
    counts = Counter(pair for pair in pairs if pair[0] != BIRTH and not pair[0].startswith(SEX_PREFIX))
    rows = [(*pair, counts[pair]) for pair in sorted(counts)]
    columns = [[row[place] for row in rows] for place in range(3)]
    return pa.table(columns, schema=COUNTS)


def _predictions(table: pa.Table, names: dict[int, str | None]) -> Iterator[Prediction]:
    """The rows of a table with the columns of `predict.PREDICTION`."""
    for row in table.to_pylist():
        yield Prediction(
            subject_id=row["subject_id"],
            source_id=names.get(row["subject_id"]),
            last_day=row["prediction_time"].date(),
            risk=row["predicted_boolean_probability"],
            calibrated_risk=row["calibrated_probability"],
            low=row["low"],
            high=row["high"],
            unread_share=row["unread_share"],
            outside=str(row["outside"] or "").split(),
            excluded=row["excluded"],
        )
