"""The release of a summary: the privacy step, then `summary.json` and `results.parquet`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import artifacts
from claimscale.privacy.gate import suppress
from claimscale.summary.entries import Count, EstimateEntry
from claimscale.summary.result_schema import ModelResultEntry
from claimscale.summary.schema import Summary
from claimscale.summary.statistics_schema import Profile

RESULTS = pa.schema(
    [
        ("task", pa.string()),
        ("arm", pa.string()),
        ("size", pa.string()),
        ("parameters", pa.int64()),
        ("n_labelled", pa.int64()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("estimate", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n_seeds", pa.int64()),
        ("n_test", pa.int64()),
        ("positives", pa.int64()),
    ]
)
"""One row per task, model, split and metric. Suppressed counts are null."""
MODEL_COLUMNS = ("arm", "size", "parameters", "n_labelled", "split", "n_seeds")


def release(summary: Summary, profile: Profile, folder: Path) -> Summary:
    """Write the summary as it may be shown under the profile. Returns what is shown."""
    shown = suppress(summary, profile)
    write_results(folder / "results.parquet", shown)
    artifacts.write_json(folder / "summary.json", shown.model_dump(mode="json"))
    return shown


def write_results(file: Path, summary: Summary) -> None:
    """Write `results.parquet` atomically."""
    rows = [
        {
            "task": task.name,
            **{name: getattr(result, name) for name in MODEL_COLUMNS},
            "n_test": _known(result.n_test),
            "positives": _known(result.positives),
            "metric": metric,
            "estimate": found.estimate,
            "low": found.low,
            "high": found.high,
        }
        for task in summary.tasks
        for result in task.results
        for metric, found in _by_metric(result)
    ]
    with artifacts.atomic_file(file) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema=RESULTS), partial, write_page_checksum=True)


def _known(count: Count) -> int | None:
    return count if isinstance(count, int) else None


def _by_metric(result: ModelResultEntry) -> Iterator[tuple[str, EstimateEntry]]:
    yield from (("auprc", result.auprc), ("auroc", result.auroc), ("log_loss", result.log_loss))
    yield "calibration_slope", result.calibration
    yield "calibration_intercept", result.calibration.intercept
    error = result.calibration.expected_error
    yield "expected_calibration_error", EstimateEntry(estimate=error, low=None, high=None)
