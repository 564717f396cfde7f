"""Simulated patients as tables of events, and as files in every format that real claims come in."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from claimscale.artifacts import appearing
from claimscale.codes.systems import BIRTH, DEATH, SEX_PREFIX
from claimscale.errors import BadInput
from claimscale.simulator import hospitals as country_hospitals, months, parameters as world
from claimscale.simulator.ages import SEXES
from claimscale.simulator.kernel.histories import live_all
from claimscale.simulator.parameters import Country
from claimscale.simulator.writers import WRITERS, WriterOptions

MICROSECONDS_PER_DAY = 86_400_000_000
SHARD_PATIENTS = 5_000
"""Patients in memory per worker: about 1.5 million events."""

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


def simulate(
    folder: Path,
    patients: int,
    hospitals: int,
    seed: int,
    kind: str = "events",
    *,
    youngest: int = 0,
    options: WriterOptions | None = None,
    workers: int | None = None,
    shard_patients: int = SHARD_PATIENTS,
    report: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write patients 1 to `patients` below `folder`, in the format `kind` (see `writers.WRITERS`).

    The folder appears whole or not at all. The bytes do not depend on `workers` (one per core unless told),
    and memory holds one shard per worker. `report` is told the fraction written, as it grows.
    Raises BadInput for impossible numbers, an unknown format, and a folder that is not empty or not writable.
    """
    if patients < 1:
        raise BadInput(f"patients: {patients} is not a positive number of patients")
    if hospitals > patients:
        raise BadInput(f"hospitals: {hospitals} hospitals are more than {patients} patients")
    if youngest not in range(0, 91, 5):
        raise BadInput(f"youngest: {youngest} is not a multiple of 5 from 0 to 90")
    if workers is not None and workers < 1:
        raise BadInput(f"workers: {workers} is not a positive number of workers")
    if kind not in WRITERS:
        raise BadInput(f"format: {kind!r} is none of {', '.join(WRITERS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: exists already and is not an empty folder")
    country = world.build(hospitals, seed, youngest)
    try:
        with appearing(folder) as partial:
            writer = WRITERS[kind](partial, country.codes, options or WriterOptions())

            def write_shard(shard: int) -> None:
                first = 1 + shard * shard_patients
                count = min(shard_patients, patients + 1 - first)
                writer.write(events(country, seed, first, count), shard)

            _for_each(write_shard, -(-patients // shard_patients), workers or os.cpu_count() or 1, report)
            writer.finish()
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror or error})") from None


def _for_each(work: Callable[[int], None], count: int, workers: int, report: Callable[[float], None]) -> None:
    """Call `work` with 0, 1, ... below `count` in threads; the first error stops the rest."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting, running, ended = iter(range(count)), set(), 0
            while ended < count:
                running |= {pool.submit(work, n) for n in itertools.islice(waiting, workers - len(running))}
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                ended += len(done)
                report(ended / count)
        finally:
            pool.shutdown(cancel_futures=True)


def events(country: Country, seed: int, first_patient: int, patients: int) -> pa.Table:
    """The events of consecutive patients with the columns of SCHEMA, sorted by subject, time and code.

    Diagnoses are dated to the first of their month, drugs and tests to their day; all become available on the
    last day of the month.
    """
    first_days = months.first_days()
    people, log = live_all(country.world, first_days, stream_seed(seed), first_patient, patients)
    birth_day, sex, hospital, rows = people.T
    month, day, code, suspected, setting = log.T
    # Three kinds of events that nobody claims stand behind the country's codes; death is already logged.
    names = np.array([*country.codes, DEATH, BIRTH, *(SEX_PREFIX + sex for sex in SEXES)])
    birth_code = len(country.codes) + 1
    rank = np.argsort(np.argsort(names))
    everyone = np.arange(patients)
    owner = np.concatenate([everyone, everyone, np.repeat(everyone, rows)])
    day = np.concatenate([birth_day, birth_day, day])
    code = np.concatenate([np.full(patients, birth_code), birth_code + 1 + sex, code])
    available = np.concatenate([birth_day, birth_day, first_days[month + 1] - 1])
    nothing = np.zeros(2 * patients, np.int32)
    visit = np.concatenate([nothing - 1, 2 * month + setting])
    suspected = np.concatenate([nothing, suspected])

    order = _sorted_order(owner, day, rank[code], suspected)
    owner, day, code, available, visit = (values[order] for values in (owner, day, code, available, visit))
    subject = pa.array(owner + first_patient)
    hospital_names = country_hospitals.names(country.hospitals.numbers)
    visits = [f"{month}{suffix}" for month in months.year_months() for suffix in ("", "-1")]
    is_visit = (visit >= 0) & (code < len(country.codes))
    columns = [
        subject,
        _timestamps(day),
        _look_up(names.tolist(), code),
        pa.nulls(owner.size, pa.float32()),
        _look_up(hospital_names, hospital[owner], visit >= 0),
        pc.binary_join_element_wise(  # type: ignore[attr-defined]  # made at run time, unknown to pyright
            subject.cast(pa.string()), _look_up(visits, visit, is_visit), "-"
        ),
        _timestamps(available),
        pa.array(suspected[order].astype(bool)),
    ]
    return pa.table(columns, schema=SCHEMA)


def stream_seed(seed: int) -> np.uint64:
    """Any integer as the 64 bits that the kernel's generator starts from."""
    return np.uint64(seed % 2**64)


def _sorted_order(owner: np.ndarray, day: np.ndarray, code: np.ndarray, suspected: np.ndarray) -> np.ndarray:
    """Order by owner, day, code, suspected: one sort of a number that holds all four."""
    days = day.astype(np.int64) - day.min()
    key = owner.astype(np.int64)
    for values in (days, code, suspected):
        key = key * (int(values.max()) + 1) + values
    return np.argsort(key, kind="stable")


def _timestamps(days: np.ndarray) -> pa.Array:
    return pa.array(days.astype(np.int64) * MICROSECONDS_PER_DAY).cast(pa.timestamp("us"))


def _look_up(names: list[str], positions: np.ndarray, is_known: np.ndarray | None = None) -> pa.Array:
    """The names at the positions as strings; null where unknown."""
    indices = pa.array(positions.astype(np.int32), mask=None if is_known is None else ~is_known)
    return pa.array(names, pa.string()).take(indices)
