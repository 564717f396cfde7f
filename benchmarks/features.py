"""Feature counting of the baselines: `baselines.features` against pandas group-bys of the same features.

Both count the same made-up patients, each in a process of its own that also reports its peak memory and the
processor's seconds (a busy machine stretches the others), alternating three times; the two matrices are
compared entry by entry once. Then ours alone on 100,000 patients and 5,000 codes, with what a dense matrix
would take beside it. Prints a table and writes `benchmarks/results/features.json`. Run with
`make bench NAME=features`; another number of patients for the comparison by
`.venv/bin/python benchmarks/features.py 5000`. One side alone, as this program calls itself:
`features.py --side ours PATIENTS`.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sparse

from claimscale.baselines.features import DAYS_PER_YEAR, PERSON, WINDOWS_DAYS, FeatureColumns, count_features
from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.special_tokens import FIRST_SEX, SPECIAL_CODES
from claimscale.tokens.store import TokenStore
from claimscale.tokens.vocabulary import Vocabulary
from record import write_record

COMPARED, LARGE, CODES, EVENTS, REPETITIONS = 20_000, 100_000, 5_000, 120, 3
INDEX_DAY, YEARS = 18_500, 4


def made_up(patients: int) -> TokenStore:
    """Patients with some 120 events of 5,000 codes over four years and the year after the index date."""
    random = np.random.default_rng(patients)
    diagnoses = [f"ICD10//{chr(65 + n // 100)}{n % 100:02d}{m}" for n in range(700) for m in range(4)]
    drugs = [
        f"ATC//{first}{group:02d}{third}{fourth}{last:02d}"
        for first in "ABCDGJLMNR" for group in range(1, 7) for third in "AB" for fourth in "ABC"
        for last in range(1, 8)
    ]  # fmt: skip
    codes = [*SPECIAL_CODES, *(diagnoses + drugs)[:CODES]]
    kinds = [0, 0, 0, 1, 1, 1, *(2 if code.startswith("ICD") else 4 for code in codes[6:])]
    nothing = np.zeros(len(codes), np.int64)
    vocabulary = Vocabulary(codes, np.array(kinds, np.int8), nothing, nothing, nothing.astype(bool))
    counts = random.poisson(EVENTS, patients)
    row = np.repeat(np.arange(patients), counts)
    day = INDEX_DAY - YEARS * 365 + random.integers(0, (YEARS + 1) * 365, counts.sum())
    # A few codes are common and most are rare, as in claims.
    token = 6 + ((len(codes) - 6) * random.random(counts.sum()) ** 2.5).astype(np.int64)
    order = np.lexsort((token, day, row))
    day, token = day[order], token[order]
    offsets = np.r_[0, np.cumsum(counts)]
    change = np.r_[True, (row[1:] != row[:-1]) | (day[1:] != day[:-1])].cumsum()
    births = random.integers(-15_000, 5_000, patients)
    return TokenStore(
        subjects=np.arange(patients),
        offsets=offsets,
        token=token.astype(np.uint16),
        age_days=(day - births[row]).astype(np.int32),
        visit=(change - np.repeat(change[offsets[:-1]], counts)).astype(np.int32),
        available=day.astype(np.int32),
        birth_day=births.astype(np.int32),
        sex=random.integers(3, 6, patients).astype(np.int32),
        vocabulary=vocabulary,
    )


def ours(store: TokenStore, groups: CodeGroups) -> sparse.csr_matrix:
    rows, nothing = np.arange(len(store)), np.zeros(0, np.int32)
    return count_features(store, groups, rows, np.full(len(rows), INDEX_DAY), nothing)


def grouped(store: TokenStore, groups: CodeGroups) -> sparse.csr_matrix:
    """The same matrix by pandas: one row per event and column, then a group-by for each block."""
    block, patients = FeatureColumns(groups.count), len(store)
    events = pd.DataFrame({"row": np.repeat(np.arange(patients), np.diff(store.offsets))})
    events["token"], events["visit"] = store.token, store.visit
    events["day"] = store.age_days + store.birth_day[events["row"]]
    events = events[store.available <= INDEX_DAY]
    events["ago"] = INDEX_DAY - events["day"]
    long = pd.concat(
        [
            pd.DataFrame(
                {"row": events["row"], "column": groups.columns[events["token"], k], "ago": events["ago"]}
            )
            for k in range(groups.columns.shape[1])
        ]
    )
    long = long[long["column"] >= 0]
    entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(found: pd.Series, columns: np.ndarray | int) -> None:
        row = found.index.get_level_values(0).to_numpy()
        entries.append((row, np.broadcast_to(columns, row.shape), found.to_numpy()))

    for place, window in enumerate(WINDOWS_DAYS):
        start = block.window(place).start
        seen = long if window is None else long[long["ago"] < window]
        found = seen.groupby(["row", "column"]).size()
        add(found, start + found.index.get_level_values(1).to_numpy())
        inside = events if window is None else events[events["ago"] < window]
        by_patient = inside.groupby("row")
        services = (by_patient.size(), by_patient["visit"].nunique(), by_patient["token"].nunique())
        for k, values in enumerate(services):
            add(values, start + groups.count + k)
    last = long.groupby(["row", "column"])["ago"].min()
    recency = block.recency.start + last.index.get_level_values(1).to_numpy()
    add(1 / (1 + last / DAYS_PER_YEAR), recency)
    everyone = pd.RangeIndex(patients)
    add(pd.Series((INDEX_DAY - store.birth_day) / DAYS_PER_YEAR, everyone), 0)
    for sex in (0, 1):
        add(pd.Series(1.0, everyone[store.sex == FIRST_SEX + sex]), 1 + sex)
    add((INDEX_DAY - events.groupby("row")["day"].min()) / DAYS_PER_YEAR, len(PERSON) - 1)
    row, column, value = (np.concatenate([entry[k] for entry in entries]) for k in range(3))
    shape = (patients, block.width)
    return sparse.csr_matrix(sparse.coo_matrix((value.astype(np.float32), (row, column)), shape=shape))


def side(name: str, patients: int) -> None:
    """One side in a process of its own; prints what `Measured` holds, but for the peak."""
    build = {"ours": ours, "pandas": grouped}[name]
    small = made_up(100)
    build(small, CodeGroups.of(small.vocabulary))  # compiled code is loaded, pandas imported
    store = made_up(patients)
    groups = CodeGroups.of(store.vocabulary)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    started, busy = time.perf_counter(), time.process_time()
    matrix = build(store, groups)
    print(time.perf_counter() - started, time.process_time() - busy, matrix.nnz, before / 2**30)


@dataclass(frozen=True)
class Measured:
    """What one side took; memory in GiB, `before` what its patients take."""

    seconds: float
    cpu_seconds: float
    entries: int
    before: float
    peak: float


def measured(name: str, patients: int) -> Measured:
    command = [sys.executable, __file__, "--side", name, str(patients)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name}: failed")
    seconds, cpu_seconds, entries, before = output.split()
    peak = usage.ru_maxrss / 2**20
    return Measured(float(seconds), float(cpu_seconds), int(entries), float(before), peak)


def check_same() -> None:
    """Both sides must count the same; the one test of this program."""
    store = made_up(500)
    groups = CodeGroups.of(store.vocabulary)
    one, two = ours(store, groups), grouped(store, groups)
    two.eliminate_zeros()
    if one.nnz != two.nnz or np.abs((one - two).data).max(initial=0.0) > 1e-5:
        sys.exit("the two matrices differ")


def main(compared: int) -> None:
    check_same()
    found: dict[str, list[Measured]] = {"ours": [], "pandas": []}
    for _ in range(REPETITIONS):
        for name, runs in found.items():
            runs.append(measured(name, compared))
    figures: dict[str, float] = {"patients": compared, "entries": found["ours"][0].entries}
    print(f"{compared:,} patients, {figures['entries']:,} entries")
    for name, runs in found.items():
        for field in ("seconds", "cpu_seconds", "peak"):
            figures[f"{name}_{field}"] = statistics.median(getattr(run, field) for run in runs)
        print(
            f"{name:<8}{figures[f'{name}_seconds']:>8.2f} s ({min(run.seconds for run in runs):.2f} to "
            f"{max(run.seconds for run in runs):.2f}), {figures[f'{name}_cpu_seconds']:.2f} s of "
            f"a processor, peak {figures[f'{name}_peak']:.2f} GiB"
        )
    for field in ("seconds", "cpu_seconds"):
        figures[f"times_as_fast_{field}"] = figures[f"pandas_{field}"] / figures[f"ours_{field}"]
    print(
        f"ours is {figures['times_as_fast_seconds']:.1f} times as fast, "
        f"{figures['times_as_fast_cpu_seconds']:.1f} times by the processor"
    )
    large = measured("ours", LARGE)
    width = FeatureColumns(CodeGroups.of(made_up(10).vocabulary).count).width
    figures |= {f"large_{field}": value for field, value in asdict(large).items()}
    figures |= {"large_patients": LARGE, "large_codes": CODES, "large_columns": width}
    figures["large_dense_gib"] = 4 * LARGE * width / 2**30
    print(
        f"{LARGE:,} patients, {CODES:,} codes: {large.seconds:.1f} s, {large.entries:,} entries, peak "
        f"{large.peak:.2f} GiB, of which {large.before:.2f} GiB before; {width:,} dense columns would take "
        f"{figures['large_dense_gib']:.0f} GiB"
    )
    write_record("features" if compared == COMPARED else f"features_{compared}", figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], int(sys.argv[3]))
    else:
        main(int((sys.argv[1:2] or [COMPARED])[0]))
