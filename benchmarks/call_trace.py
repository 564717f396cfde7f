"""The functions that a study's settings pass through, from the file to the first training step.

It runs `claimscale pretrain` on a small simulated study in one process, stops at the first optimizer step,
and lists the functions of the package on the call stack, from the outermost one that holds settings: as an
argument or a variable, or as an attribute of one. Prints them and writes
`benchmarks/results/call_trace.json`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import claimscale
from claimscale import cli
from claimscale.config import loading
from claimscale.config.base import Settings
from claimscale.experiments.runners import local
from claimscale.training import pretraining_run

LIMIT = 15
DEPTH = 3
"""How deep settings may be inside an argument: a worker's workspace, a job's setup."""
PACKAGE = Path(claimscale.__file__).parent
STUDY = """
name: trace
source: {kind: simulated, patients: 2500, hospitals: 2, min_age: 75}
cohort: {landmark: 2020-10-01, splits: {fractions: [0.6, 0.2, 0.2]}}
tokens: {max_length: 32, min_patients: 20}
sizes: [67k]
tasks: [{name: analgesics, kind: medication, outcome: {ATC: [M01]}, washout_days: 365}]
pretrain: {seeds: [1], epochs: 1, batch_tokens: 2048}
finetune: {seeds: [1]}
baselines: []
"""


class Reached(BaseException):
    """The first optimizer step."""


class InProcess:
    """In place of the pool of worker processes: the same functions, in this process."""

    def __init__(
        self, workers: int, context: object, start: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        start(*arguments)

    def submit(self, work: Callable[..., float], *arguments: Any) -> Future[float]:
        done: Future[float] = Future()
        done.set_result(work(*arguments))
        return done

    def shutdown(self, **options: bool) -> None:
        pass


def trace() -> list[str]:
    """The functions that settings pass through until the first optimizer step, outermost first."""
    found: list[str] = []
    validate = loading.validated

    def read(*arguments: Any) -> Any:
        settings = validate(*arguments)
        found.extend(["config.loading.load", "config.loading.validated"])
        return settings

    def stop(*arguments: object) -> None:
        found.extend(functions_with_settings(sys._getframe(1)))
        raise Reached

    with tempfile.TemporaryDirectory() as place, patch.object(local, "ProcessPoolExecutor", InProcess):
        file = Path(place) / "study.yaml"
        file.write_text(f"{STUDY}runs_dir: {place}/runs\n")
        with patch.object(pretraining_run, "optimizer_step", stop), patch.object(loading, "validated", read):
            try:
                cli.app(["pretrain", str(file)], exit_on_error=False, result_action="return_value")
            except Reached:
                return found
    raise RuntimeError("no training step was reached")


def functions_with_settings(frame: FrameType | None) -> list[str]:
    """Functions of the package on the stack, from the outermost that holds settings to this frame."""
    found: list[tuple[str, bool]] = []
    while frame is not None:
        code = frame.f_code
        if Path(code.co_filename).is_relative_to(PACKAGE):
            module = ".".join(Path(code.co_filename).relative_to(PACKAGE).with_suffix("").parts)
            found.append((f"{module}.{code.co_qualname}", any(map(holds, frame.f_locals.values()))))
        frame = frame.f_back
    outermost = max(place for place, (_, has_settings) in enumerate(found) if has_settings)
    return [name for name, _ in reversed(found[: outermost + 1])]


def holds(value: object, depth: int = DEPTH) -> bool:
    if isinstance(value, Settings):
        return True
    inside = getattr(value, "__dict__", None)
    own = type(value).__module__.startswith("claimscale")
    return bool(depth and own and inside and any(holds(one, depth - 1) for one in inside.values()))


if __name__ == "__main__":
    functions = trace()
    for number, name in enumerate(functions, 1):
        print(f"{number:>3}  {name}")
    record = {"functions": functions, "count": len(functions), "limit": LIMIT}
    results = Path(__file__).parent / "results" / "call_trace.json"
    results.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(len(functions) > LIMIT)
