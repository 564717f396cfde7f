"""Trainings that are killed at random moments and resumed, compared with an uninterrupted one.

A script, for test_kills and benchmarks/kills.py: `killed.py KIND KILLS SEED` prints one line of
JSON per kill. Every training runs in a process of its own, forked from this one. Every third kill falls
inside a save, on a random line of the code that saves, and leaves the file just being written cut off
anywhere.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch._dynamo

from claimscale import artifacts
from claimscale.training import checkpoints

SAVING = {inspect.getfile(checkpoints), inspect.getfile(artifacts)}


def _small_corpus() -> Any:
    spec = importlib.util.spec_from_file_location("small_corpus", Path(__file__).with_name("conftest.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


corpus = _small_corpus()


def pretrain(folder: Path) -> None:
    corpus.pretrain_with_checkpoints(folder, lambda share: None)


def pretrain_incident(folder: Path) -> None:
    """The default objective: incident codes too, another part of each record in each epoch."""
    corpus.pretrain_with_checkpoints(folder, lambda share: None, incident=True)


def finetune(folder: Path) -> None:
    """Two learning rates, so that kills fall between two trials as well."""
    (train, topic), (tuning, tuning_topic) = corpus.make_corpus(100, 0), corpus.make_corpus(50, 1)
    settings = {
        "epochs": 2,
        "learning_rates": [5e-4, 4e-3],
        "layerwise_lr_decay": 0.9,
        "checkpoint_minutes": 1e-6,
    }
    labelled = (train, topic == 0), (tuning, tuning_topic == 0)
    _, probability = corpus.make_finetuning(folder, *labelled, {"tuning": tuning}, seed=7, **settings)
    np.save(folder / "probability.npy", probability["tuning"])


TRAININGS: dict[str, Callable[[Path], None]] = {
    "pretrain": pretrain,
    "pretrain_incident": pretrain_incident,
    "finetune": finetune,
}


class LinesOfSaves:
    """Counts the lines that run inside saves; at line `last` the process kills itself."""

    def __init__(self, last: int | None, cut: float) -> None:
        self.count, self.last, self.cut = 0, last, cut
        save = checkpoints.Checkpoints.save

        def traced(*arguments: Any) -> None:
            sys.settrace(self.trace)
            save(*arguments)
            sys.settrace(None)

        checkpoints.Checkpoints.save = traced

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in SAVING:
            return None
        if event == "line":
            self.count += 1
            if self.count == self.last:
                stream = frame.f_locals.get("stream")
                if stream is not None and not stream.closed:
                    os.ftruncate(stream.fileno(), int(self.cut * os.fstat(stream.fileno()).st_size))
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace


def in_child(work: Callable[[], None], seconds: float | None = None) -> bool:
    """Do the work in a child, killed after so many seconds; whether it was killed. Its failure is ours."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)  # if it has ended, it waits to be asked how
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        sys.exit("a training failed")
    return code != 0


def outcome(folder: Path) -> dict[str, Any]:
    """What must be the same: SHA-256 of weights and predictions, every step's loss."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    files = [folder / name for name in ("model.safetensors", "probability.npy")]
    return {
        "sha256": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()],
        "losses": [json.loads(line)["loss"] for line in lines],
    }


def newest_step(folder: Path) -> int:
    steps = [int(mark.stem.removeprefix("step-")) for mark in folder.glob("checkpoints/step-*.json")]
    return max(steps, default=0)


def kill_and_resume(kind: str, kills: int, seed: int, place: Path) -> None:
    train, draw = TRAININGS[kind], random.Random(seed)

    def counted(folder: Path) -> None:
        lines = LinesOfSaves(None, 0.0)
        train(folder)
        (place / "lines").write_text(str(lines.count))

    def killed_inside_a_save(folder: Path, last: int, cut: float) -> None:
        LinesOfSaves(last, cut)
        train(folder)

    def fresh(name: str) -> Path:
        folder = place / name
        folder.mkdir()
        return folder

    whole, counting, started = fresh("whole"), fresh("counted"), time.monotonic()
    in_child(lambda: train(whole))
    seconds = time.monotonic() - started
    in_child(lambda: counted(counting))
    lines, expected = int((place / "lines").read_text()), outcome(whole)
    if outcome(counting) != expected:
        sys.exit("two uninterrupted runs differ")

    done = 0
    while done < kills:
        folder, inside = fresh(f"killed-{done}-{draw.random()}"), done % 3 == 2
        if inside:
            last, cut = draw.randint(1, lines), draw.random()
            was_killed = in_child(lambda f=folder, n=last, c=cut: killed_inside_a_save(f, n, c))
        else:
            was_killed = in_child(lambda f=folder: train(f), draw.uniform(0, seconds))
        if not was_killed:
            continue  # it was done before its time
        step = newest_step(folder)
        in_child(lambda f=folder: train(f))
        equal = outcome(folder) == expected
        print(json.dumps({"inside_a_save": inside, "resumed_at": step, "equal": equal}), flush=True)
        done += 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        kill_and_resume(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(temporary))
