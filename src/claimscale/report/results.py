"""How results are written down: plain values for JSON, one long table for everything else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("arm", pa.string()),
        ("size", pa.string()),
        ("parameters", pa.int64()),
        ("patients", pa.int64()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("estimate", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("seeds", pa.int64()),
        ("n", pa.int64()),
        ("positives", pa.int64()),
    ]
)
"""`patients` labelled patients trained the model, `n` patients tested it; low and high bound 95 %."""


def plain(content: Any) -> Any:
    """The same content as JSON can hold it: six significant digits, null for what is not a number."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float):
        return float(f"{content:.6g}") if math.isfinite(content) else None
    return content


def write_results(file: Path, summary: Mapping[str, Any]) -> None:
    """Write `results.parquet` atomically: one row per task, model, split and metric of the summary."""
    rows = [
        {"task": task["name"], **{name: result[name] for name in SCHEMA.names if name in result}}
        | {"metric": metric, **{name: found.get(name) for name in ("estimate", "low", "high")}}
        for task in summary["tasks"]
        for result in task["results"]
        for metric, found in _by_metric(result)
    ]
    partial = file.with_name(file.name + ".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial, write_page_checksum=True)
    partial.replace(file)


def _by_metric(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for metric in ("auprc", "auroc", "log_loss"):
        yield metric, result[metric]
    calibration = result["calibration"]
    yield "calibration_slope", calibration
    yield "calibration_intercept", calibration["intercept"]
    yield "expected_calibration_error", {"estimate": calibration["expected_error"]}
