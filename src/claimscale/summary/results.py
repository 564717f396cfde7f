"""How results are written down: plain values for JSON, one long table for everything else."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.findings import Finding

SCHEMA = pa.schema(
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
"""`n_labelled` labelled patients trained the model, `n_test` predictions tested it; low and high: 95 %."""

LOSS_POINTS = 40


def plain(content: Any) -> Any:
    """The same content as JSON can hold it: six significant digits, null for what is not a number."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, Finding):
        return plain(content.model_dump())
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float):
        return float(f"{content:.6g}") if math.isfinite(content) else None
    return content


def write_results(file: Path, summary: Mapping[str, Any]) -> None:
    """Write `results.parquet` atomically: one row per task, model, split and metric of the summary."""
    rows = [
        {"task": task["name"], **{name: _known(result[name]) for name in SCHEMA.names if name in result}}
        | {"metric": metric, **{name: found.get(name) for name in ("estimate", "low", "high")}}
        for task in summary["tasks"]
        for result in task["results"]
        for metric, found in _by_metric(result)
    ]
    partial = file.with_name(file.name + ".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial, write_page_checksum=True)
    partial.replace(file)


def training_losses(pretraining: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The loss while pretraining, per size, of the first seed: `tokens` seen, mean `loss` since before.

    Each of `pretraining` may name its `metrics`, a file with a line per step; at most LOSS_POINTS are kept.
    """
    found, sizes = [], set()
    for run in sorted(pretraining, key=lambda run: run["seed"]):
        file = run.get("metrics")
        if run["size"] in sizes or file is None or not Path(file).exists():
            continue
        sizes.add(run["size"])
        steps = [json.loads(line) for line in Path(file).read_text("utf-8").splitlines() if line]
        steps = [step for step in steps if {"tokens", "loss"} <= step.keys()]
        parts = np.array_split(np.arange(len(steps)), min(LOSS_POINTS, len(steps))) if steps else []
        found.append(
            {
                "size": run["size"],
                "seed": run["seed"],
                "tokens": [steps[part[-1]]["tokens"] for part in parts],
                "loss": [float(np.mean([steps[place]["loss"] for place in part])) for part in parts],
            }
        )
    return found


def _known(value: Any) -> Any:
    """A count that the privacy gate has hidden ('<10') is null in the table."""
    return None if isinstance(value, str) and value.startswith("<") else value


def _by_metric(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for metric in ("auprc", "auroc", "log_loss"):
        yield metric, result[metric]
    calibration = result["calibration"]
    yield "calibration_slope", calibration
    yield "calibration_intercept", calibration["intercept"]
    yield "expected_calibration_error", {"estimate": calibration["expected_error"]}
