"""The options of `claimscale simulate`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SimulatedFiles:
    """What `simulate` writes.

    Parameters
    ----------
    patients
        Number of patients.
    hospitals
        Number of hospitals of the simulated country, 1 to 519.
    seed
        Equal seeds give equal bytes.
    format
        tables, uke, dpc, omop, meds or events.
    min_age
        Minimum age of the patients in July 2021 (a multiple of 5).
    csv
        Flat tables as CSV instead of Parquet.
    wareki
        Claim files (uke) with dates in Japanese eras.
    workers
        Processes that write; one per core by default. The bytes do not depend on it.
    """

    patients: int
    hospitals: int = 8
    seed: int = 42
    format: str = "tables"
    min_age: int = 0
    csv: bool = False
    wareki: bool = False
    workers: int | None = None
