"""Speed and memory of the simulator at growing numbers of patients.

Prints a table and writes `benchmarks/results/simulate.json`. Run with `make bench NAME=simulate`; numbers of
patients other than 20,000, 200,000 and 1,000,000 by `.venv/bin/python benchmarks/simulate.py 20000 50000`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from record import write_record

PATIENTS = (20_000, 200_000, 1_000_000)
HOSPITALS = 32
COMPARED = 12_000
"""Patients simulated with one worker and with several to compare the bytes."""


def simulate(folder: Path, patients: int, workers: int) -> tuple[float, float]:
    """Seconds and peak memory (GiB) of the command line, from start to exit."""
    arguments = ["simulate", str(folder), "--patients", str(patients), "--hospitals", str(HOSPITALS)]
    arguments += ["--format", "events", "--workers", str(workers)]
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "claimscale", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"claimscale {' '.join(arguments)}: failed")
    return time.monotonic() - started, usage.ru_maxrss / 2**20


def rows_of(folder: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("events/*.parquet"))


def digest_of(folder: Path) -> str:
    """One digest of every file's name and bytes."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def main() -> None:
    figures: dict[str, float] = {}
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        digests = set()
        for workers in (1, cores, 2 * cores + 1):
            simulate(place / "compared", COMPARED, workers)
            digests.add(digest_of(place / "compared"))
            shutil.rmtree(place / "compared")
        figures["different_results_of_three_numbers_of_workers"] = len(digests)
        print(f"one and several workers: {'the same bytes' if len(digests) == 1 else 'DIFFERENT BYTES'}")
        print(
            f"{'patients':>10} {'workers':>8} {'events':>13} {'seconds':>8} {'events/s/core':>14} {'GiB':>6}"
        )
        runs = [(20_000, 1), *((int(n), cores) for n in sys.argv[1:] or PATIENTS)]
        for patients, workers in runs:
            seconds, memory = simulate(place / "out", patients, workers)
            rows = rows_of(place / "out")
            shutil.rmtree(place / "out")
            rate = rows / seconds / workers
            print(f"{patients:>10,} {workers:>8} {rows:>13,} {seconds:>8.1f} {rate:>14,.0f} {memory:>6.2f}")
            key = f"{patients}_patients_{workers}_workers"
            figures |= {f"{key}_events_per_second_per_core": rate, f"{key}_peak_gib": memory}
            figures |= {f"{key}_events": rows, f"{key}_seconds": seconds}
    write_record("simulate", figures)


if __name__ == "__main__":
    main()
