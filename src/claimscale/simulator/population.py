"""Simulated patients written as event shards, one range of patients at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from claimscale.codes import BIRTH, DEATH, SEX_PREFIX
from claimscale.errors import BadInput
from claimscale.runs import make_folder
from claimscale.simulator import months, world
from claimscale.simulator.kernel import live_all
from claimscale.simulator.world import SEXES, Country

MICROSECONDS_PER_DAY = 86_400_000_000

SCHEMA = pa.schema(
    {
        "subject_id": pa.int64(),
        "time": pa.timestamp("us"),
        "code": pa.string(),
        "numeric_value": pa.float32(),
        "hospital_id": pa.string(),
        "visit_id": pa.string(),
        "available_at": pa.timestamp("us"),
        "suspected": pa.bool_(),
    }
)


def simulate(folder: Path, patients: int, hospitals: int, seed: int, shard_patients: int = 5_000) -> None:
    """Write the events of patients 1 to `patients` as `folder/000000.parquet` and on.

    Rows are sorted by subject, time and code. A shard appears whole or not at all, and memory holds one
    shard. The rows do not depend on `shard_patients`. Diagnoses are dated to the first of their month, drugs
    and tests to the day of the visit; all become available on the last day of the month.
    Raises BadInput for numbers that are not positive and for a folder that cannot be written.
    """
    if patients < 1:
        raise BadInput(f"source.patients: {patients} is not a positive number of patients")
    country = world.build(hospitals, seed)
    make_folder(folder)
    for shard, first in enumerate(range(1, patients + 1, shard_patients)):
        table = events(country, seed, first, min(shard_patients, patients + 1 - first))
        file = folder / f"{shard:06d}.parquet"
        partial = file.with_name(file.name + ".partial")
        try:
            pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
            partial.replace(file)
        except OSError as error:
            raise BadInput(f"{file}: cannot be written ({error.strerror})") from None


def events(country: Country, seed: int, first_patient: int, patients: int) -> pa.Table:
    """The events of consecutive patients, sorted by subject, time and code, with the columns of SCHEMA."""
    first_days = months.first_days()
    people, log = live_all(country.world, first_days, stream_seed(seed), first_patient, patients)
    birth_day, sex, hospital, rows = people.T
    month, day, code, suspected = log.T
    # Three kinds of events that nobody claims stand behind the country's codes; death is already logged.
    names = [*country.codes, DEATH, BIRTH, *(SEX_PREFIX + sex for sex in SEXES)]
    birth_code = len(country.codes) + 1
    everyone = np.arange(patients)
    owner = np.concatenate([everyone, everyone, np.repeat(everyone, rows)])
    day = np.concatenate([birth_day, birth_day, day])
    code = np.concatenate([np.full(patients, birth_code), birth_code + 1 + sex, code])
    available = np.concatenate([birth_day, birth_day, first_days[month + 1] - 1])
    month = np.concatenate([np.full(2 * patients, -1), month])
    suspected = np.concatenate([np.zeros(2 * patients, np.int32), suspected])

    order = np.lexsort((suspected, code, day, owner))
    owner, day, code, available, month = (values[order] for values in (owner, day, code, available, month))
    is_claimed = month >= 0
    subject = pa.array(owner + first_patient)
    hospitals = [f"H{number + 1:02d}" for number in range(country.world.hospital_cumulative.size)]
    columns = [
        subject,
        _timestamps(day),
        _look_up(names, code),
        pa.nulls(owner.size, pa.float32()),
        _look_up(hospitals, hospital[owner], is_claimed),
        pc.binary_join_element_wise(  # type: ignore[attr-defined]  # made at run time, unknown to pyright
            subject.cast(pa.string()), _look_up(months.year_months(), month, is_claimed), "-"
        ),
        _timestamps(available),
        pa.array(suspected[order].astype(bool)),
    ]
    return pa.table(columns, schema=SCHEMA)


def stream_seed(seed: int) -> np.uint64:
    """Any integer as the 64 bits that the kernel's generator starts from."""
    return np.uint64(seed % 2**64)


def _timestamps(days: np.ndarray) -> pa.Array:
    return pa.array(days.astype(np.int64) * MICROSECONDS_PER_DAY).cast(pa.timestamp("us"))


def _look_up(names: list[str], positions: np.ndarray, is_known: np.ndarray | None = None) -> pa.Array:
    """The names at the positions as strings; null where unknown."""
    indices = pa.array(positions.astype(np.int32), mask=None if is_known is None else ~is_known)
    return pa.array(names, pa.string()).take(indices)
