"""Simulated patients as tables of events, and as files in every supported claims format."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from claimscale.artifacts import atomic_folder
from claimscale.codes.systems import BIRTH, DEATH, SEX_PREFIX
from claimscale.constants import MICROSECONDS_PER_DAY
from claimscale.errors import BadInput
from claimscale.simulator import months
from claimscale.simulator.ages import SEXES
from claimscale.simulator.hospitals import hospital_names
from claimscale.simulator.kernel.histories import simulate_histories
from claimscale.simulator.parameters import Country, build_country
from claimscale.simulator.writers import WRITERS, WriterOptions

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


class Population(NamedTuple):
    """The patients of one simulation: equal populations have equal events.

    `min_age` is the least age in July 2021, a multiple of 5 from 0 to 90.
    """

    patients: int
    hospitals: int
    seed: int
    min_age: int = 0

    def country(self) -> Country:
        """Raises BadInput for impossible numbers."""
        if self.patients < 1:
            raise BadInput(f"patients: {self.patients} is not a positive number of patients")
        if self.hospitals > self.patients:
            raise BadInput(f"hospitals: {self.hospitals} hospitals are more than {self.patients} patients")
        if self.min_age not in range(0, 91, 5):
            raise BadInput(f"min_age: {self.min_age} is not a multiple of 5 from 0 to 90")
        return build_country(self.hospitals, self.seed, self.min_age)


def simulate(
    folder: Path,
    population: Population,
    format: str = "events",
    *,
    options: WriterOptions | None = None,
    workers: int | None = None,
    shard_patients: int = SHARD_PATIENTS,
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write the patients below `folder` in a format of `writers.WRITERS`.

    The folder is written atomically. The bytes do not depend on `workers` (default: one per core). Memory
    holds one shard per worker. `progress` receives the fraction written.

    Raises BadInput for impossible numbers, an unknown format, and a folder that is not empty or not writable.
    """
    if workers is not None and workers < 1:
        raise BadInput(f"workers: {workers} is not a positive number of workers")
    if format not in WRITERS:
        raise BadInput(f"format: {format!r} is none of {', '.join(WRITERS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: exists already and is not an empty folder")
    country, patients = population.country(), population.patients
    try:
        with atomic_folder(folder) as partial:
            writer = WRITERS[format](partial, country.codes, options or WriterOptions())

            def write_shard(shard: int) -> None:
                first = 1 + shard * shard_patients
                count = min(shard_patients, patients + 1 - first)
                writer.write(events(country, population.seed, first, count), shard)

            _for_each(write_shard, -(-patients // shard_patients), workers or os.cpu_count() or 1, progress)
            writer.finish()
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror or error})") from None


def _for_each(
    work: Callable[[int], None], count: int, workers: int, progress: Callable[[float], None]
) -> None:
    """Call `work` with 0, 1, ... below `count` in threads; the first error cancels the rest."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting, running, ended = iter(range(count)), set(), 0
            while ended < count:
                running |= {pool.submit(work, n) for n in itertools.islice(waiting, workers - len(running))}
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                ended += len(done)
                progress(ended / count)
        finally:
            pool.shutdown(cancel_futures=True)


def events(country: Country, seed: int, first_patient: int, patients: int) -> pa.Table:
    """The events of consecutive patients with the columns of SCHEMA, sorted by subject, time and code.

    Diagnoses are dated to the first of their month, drugs and tests to their day. All become available on the
    last day of the month.
    """
    first_days = months.first_days()
    people, log = simulate_histories(
        country.parameters, first_days, stream_seed(seed), first_patient, patients
    )
    birth_day, sex, hospital, rows = people.T
    month, day, code, suspected, setting = log.T
    # The code of a death is the number of the country's codes; birth and sexes follow it.
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
    visits = [f"{month}{suffix}" for month in months.year_months() for suffix in ("", "-1")]
    is_visit = (visit >= 0) & (code < len(country.codes))
    columns = [
        subject,
        _timestamps(day),
        _look_up(names.tolist(), code),
        pa.nulls(owner.size, pa.float32()),
        _look_up(hospital_names(country.hospitals.numbers), hospital[owner], visit >= 0),
        pc.binary_join_element_wise(  # type: ignore[attr-defined]  # made at run time, unknown to pyright
            subject.cast(pa.string()), _look_up(visits, visit, is_visit), "-"
        ),
        _timestamps(available),
        pa.array(suspected[order].astype(bool)),
    ]
    return pa.table(columns, schema=SCHEMA)


def stream_seed(seed: int) -> np.uint64:
    """The initial 64 bits of the kernel's random numbers for any integer seed."""
    return np.uint64(seed % 2**64)


def _sorted_order(owner: np.ndarray, day: np.ndarray, code: np.ndarray, suspected: np.ndarray) -> np.ndarray:
    """The order by owner, day, code and suspected, by sorting one number that holds all four."""
    days = day.astype(np.int64) - day.min()
    key = owner.astype(np.int64)
    for values in (days, code, suspected):
        key = key * (int(values.max()) + 1) + values
    return np.argsort(key, kind="stable")


def _timestamps(days: np.ndarray) -> pa.Array:
    return pa.array(days.astype(np.int64) * MICROSECONDS_PER_DAY).cast(pa.timestamp("us"))


def _look_up(names: list[str], positions: np.ndarray, is_known: np.ndarray | None = None) -> pa.Array:
    """The names at the positions; null where unknown."""
    indices = pa.array(positions.astype(np.int32), mask=None if is_known is None else ~is_known)
    return pa.array(names, pa.string()).take(indices)
