"""Ingestion: tables to events, events to tokens, against a plain read and write of the rows.

Simulates patients as Parquet tables, then, alternating three times: reads every file with pyarrow and writes
it again (plain); tables -> events; events -> tokens. Prints medians and ratios and writes
`benchmarks/results/ingest.json`. Run with `make bench NAME=ingest`. Another number of patients, or memory:
`.venv/bin/python benchmarks/ingest.py 400000 2GB` (100M rows), measured once, for its memory. One step alone,
as this program calls itself: `ingest.py --step events FOLDER MEMORY`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from claimscale.cohort import selection as cohort
from claimscale.config.execution import EngineSettings
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.events import build as events
from claimscale.simulator.population import Population, simulate
from claimscale.tokens import store as tokens
from record import write_record

PATIENTS, MEMORY, HOSPITALS, REPETITIONS = 120_000, "2GB", 32, 3
STEPS = ("plain_tables", "events", "plain_events", "tokens")


def copied(source: Path, target: Path) -> int:
    """Read all Parquet files below a folder and write them again; returns the rows."""
    target.mkdir()
    rows = 0
    for number, file in enumerate(sorted(source.rglob("*.parquet"))):
        table = pq.ParquetFile(file).read()
        rows += len(table)
        pq.write_table(table, target / f"{number:06d}.parquet", compression="zstd")
    return rows


def study_of(folder: Path, memory: str) -> Study:
    return Study.model_validate(
        {
            "name": "ingest",
            "source": {"kind": "tables", "path": str(folder / "claims")},
            "engine": {"memory": memory},
            "cohort": {"landmark": "2020-10-01"},
            "sizes": ["2.2M"],
            "tasks": ["ckd"],
        },
        strict=False,
    )


def step(name: str, folder: Path, memory: str) -> None:
    """One step in a process of its own; prints its seconds, and its rows where it only copies."""
    study = study_of(folder, memory)
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    rows = 0
    with Engine(EngineSettings(memory=memory), folder / "scratch") as engine:
        if name == "tokens" and not (folder / "cohort").exists():
            (folder / "cohort").mkdir()
            cohort.build(study, engine, folder / "events", folder / "cohort")
        started = time.monotonic()
        if name.startswith("plain"):
            source = folder / "claims" if name == "plain_tables" else folder / "events" / "data"
            rows = copied(source, target)
        else:
            target.mkdir()
            if name == "events":
                events.build(study, engine, target)
            else:
                tokens.build(study, engine, folder / "events", folder / "cohort", target)
        print(time.monotonic() - started, rows)


def measured(name: str, folder: Path, memory: str) -> tuple[float, int, float]:
    """Seconds, rows and peak memory (GiB) of a step."""
    command = [sys.executable, __file__, "--step", name, str(folder), memory]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name}: failed")
    seconds, rows = output.split()
    return float(seconds), int(rows), usage.ru_maxrss / 2**20


def main(patients: int, memory: str) -> None:
    figures: dict[str, float] = {"patients": patients}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "claims", Population(patients, HOSPITALS, 7), "tables")
        seconds: dict[str, list[float]] = {each: [] for each in STEPS}
        for _ in range(REPETITIONS if patients == PATIENTS else 1):
            for each in STEPS:
                taken, rows, peak = measured(each, folder, memory)
                seconds[each].append(taken)
                figures[f"{each}_peak_gib"] = max(peak, figures.get(f"{each}_peak_gib", 0.0))
                if rows:
                    figures[f"{each}_rows"] = rows
    print(f"{'step':<14}{'seconds':>9}{'GiB':>7}")
    for each in STEPS:
        figures[f"{each}_seconds"] = statistics.median(seconds[each])
        print(f"{each:<14}{figures[f'{each}_seconds']:>9.1f}{figures[f'{each}_peak_gib']:>7.2f}")
    for each, plain in (("events", "plain_tables"), ("tokens", "plain_events")):
        figures[f"{each}_ratio"] = figures[f"{each}_seconds"] / figures[f"{plain}_seconds"]
        print(f"{each}: {figures[f'{each}_ratio']:.1f} times the plain read and write of its rows")
    write_record("ingest" if patients == PATIENTS else f"ingest_{patients}", figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main(int((sys.argv[1:2] or [PATIENTS])[0]), (sys.argv[2:3] or [MEMORY])[0])
