"""Raw events divided into shards of whole patients, so that each shard fits in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import Deferred, _

from claimscale.artifacts import make_folder
from claimscale.engine import Engine
from claimscale.events.table import day_of_time
from claimscale.sources.casting import Expression
from claimscale.sources.raw import DETAILS, RawEvents

FIRST_UNASSIGNED_SHARD = -1
"""Rows without a listed patient go to shards of negative numbers, counting down from this one."""


@dataclass(frozen=True)
class Shards:
    """Raw events in Parquet files by shard.

    Attributes:
        patients: `patient`, `subject_id`, and `rank`, the place of the patient in sorted order, from 0.
        files: the files of each shard, shards in ascending order.
    """

    patients: ir.Table
    files: dict[int, list[Path]]


def split_into_shards(raw: RawEvents, engine: Engine, scratch: Path, shard_rows: int) -> Shards:
    """Number the patients and write the raw events to `scratch` in shards of about `shard_rows` rows.

    The rows have `subject_id` in place of `patient`, and `unlisted_patient_id`: the source's id of a patient
    who is not in the source's list of patients.
    """
    make_folder(scratch)
    patients = _number_patients(raw, engine, scratch / "patients.parquet")
    expected = raw.events if raw.events is not None else engine.count(raw.table)
    shards = max(1, math.ceil(expected / shard_rows))
    folder = scratch / "shards"
    engine.write_partitions(_assign_shards(raw, patients, shards, engine), folder, "shard", shards)
    files: dict[int, list[Path]] = {}
    for file in sorted(folder.glob("shard=*/*.parquet")):
        files.setdefault(int(file.parent.name.partition("=")[2]), []).append(file)
    return Shards(patients, dict(sorted(files.items())))


def _number_patients(raw: RawEvents, engine: Engine, file: Path) -> ir.Table:
    """Integer ids are the subject ids; text ids are numbered from 1 in sorted order."""
    ids = (raw.table if raw.patients is None else raw.patients).select("patient")
    ids = ids.filter(_.patient.notnull()).distinct()
    ranked = ids.mutate(rank=ibis.row_number().over(order_by="patient"))
    is_text = raw.table.schema()["patient"].is_string()
    number = (_.rank + 1) if is_text else _.patient
    engine.write_parquet(ranked.mutate(subject_id=number.cast("int64")), file)
    return engine.read_parquet(file)


def _assign_shards(raw: RawEvents, patients: ir.Table, shards: int, engine: Engine) -> ir.Table:
    """The raw events with `subject_id` and `shard`: as many patients in each shard."""
    total = max(1, engine.count(patients))
    joined = raw.table.left_join(patients, "patient")
    # Rows without a patient need not be together. Their days spread them over several shards.
    unassigned = FIRST_UNASSIGNED_SHARD - day_of_time(_.time).fill_null(0).abs() % shards
    shard = ibis.coalesce((_.rank * shards) // total, unassigned).cast("int32")
    is_unlisted: Expression = joined.subject_id.isnull() & joined.patient.notnull()
    details: dict[str, Deferred | ir.Value] = {name: _[name] for name in DETAILS}
    details["issue"] = ibis.coalesce(joined.issue, is_unlisted.ifelse("unknown patient", ibis.null("string")))
    unlisted = is_unlisted.ifelse(joined.patient.cast("string"), ibis.null("string"))
    return joined.select("subject_id", **details, unlisted_patient_id=unlisted, shard=shard)
