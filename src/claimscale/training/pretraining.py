"""Pretraining of one encoder: a run and its cooldowns, or a learning-rate sweep; resumable at any step."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from claimscale import artifacts
from claimscale.config.training import NON_TRAINING_FIELDS
from claimscale.errors import Damaged
from claimscale.model import shapes
from claimscale.training import checkpoints
from claimscale.training.cost import CostMeter, sum_of_states
from claimscale.training.lr_schedule import Cooldown, cooldowns_of
from claimscale.training.optimizer_step import Diverged
from claimscale.training.pretraining_run import PretrainingRun, PretrainingSetup
from claimscale.training.results import (
    CooldownEntry,
    EndEntry,
    Losses,
    Note,
    PretrainingResult,
    RateEntry,
    RateLoss,
    SweepResult,
)
from claimscale.training.trainer import Trainer
from claimscale.training.validation import Validation, validate, validation_flops
from claimscale.versions import VERSIONS

Progress = Callable[[float], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainingJob:
    """A pretraining, the patients it is validated on, and the folder it writes to.

    `peak_tflops`: see `CostMeter.entry`.
    """

    setup: PretrainingSetup
    validation: Validation
    folder: Path
    peak_tflops: float | None = None

    @property
    def checkpoints(self) -> Path:
        return self.folder / checkpoints.FOLDER

    def score(self, run: PretrainingRun) -> Losses:
        return validate(run.model, self.validation, self.setup.device, self.setup.group)

    def save(self, run: PretrainingRun, name: str) -> None:
        if self.setup.group.is_main:
            checkpoints.save_tensors(self.folder / name, run.model.state_dict())

    def finished_part(self, name: str, identity: str) -> dict[str, Any] | None:
        """The result of a cooldown or a sweep's run that an earlier process finished.

        None if there is none, or its record or a file that it wrote has changed since: it is made again.
        """
        try:
            record = artifacts.read_sealed(self.checkpoints / f"{name}.json")
            whole = record["files"] == self._digests(name)
        except FileNotFoundError:
            return None
        except (OSError, Damaged):
            log.warning("%s: the record of %s is damaged; it is trained again", self.folder, name)
            return None
        return record["entry"] if whole and record["identity"] == identity else None

    def finish_part(self, name: str, identity: str, entry: CooldownEntry | RateEntry) -> None:
        if self.setup.group.is_main:
            artifacts.make_folder(self.checkpoints)
            record = {"identity": identity, "entry": entry, "files": self._digests(name)}
            artifacts.write_sealed(self.checkpoints / f"{name}.json", record)
            checkpoints.remove(self.checkpoints / name)

    def _digests(self, name: str) -> dict[str, str]:
        """The checksums of the weights and the metrics of a part."""
        files = (self.folder / f"{name}{suffix}" for suffix in (".safetensors", ".jsonl"))
        return {file.name: artifacts.file_digest(file) for file in files if file.exists()}

    def identity(self) -> str:
        """The fingerprint that a checkpoint must have to be resumed here, by any number of ranks."""
        setup, first = self.setup, self.setup.train(0)
        sequences, incident = first.sequences, first.incident
        start = {} if setup.start is None else {"start": setup.start.digest}
        return artifacts.fingerprint(
            **start,
            shape=asdict(setup.shape),
            settings=setup.settings.model_dump(exclude=NON_TRAINING_FIELDS),
            seed=setup.seed,
            patients=_digest(sequences.token, sequences.age_days, sequences.offsets),
            incident=None if incident is None else _digest(incident.new.token),
            token_metadata=_digest(setup.token_metadata.types, setup.token_metadata.groups),
            version=VERSIONS["pretrain"],
        )


def pretrain(job: PretrainingJob, progress: Progress) -> PretrainingResult:
    """Pretrain and validate; returns the result in `cell.json`.

    Writes `model.safetensors` and `metrics.jsonl` to the job's folder, `cooldown-<fraction>.*` for each
    smaller fraction of the budget in `cooldown_fractions`, and checkpoints while it runs. Called again after
    an interruption it resumes from the newest checkpoint and ends with the same weights; the caller removes
    the checkpoints once the result is on disk. `progress` receives the fraction done. Losses are in nats per
    code. All ranks of the process group share every step; the main rank writes.
    """
    run, identity = PretrainingRun(job.setup), job.identity()
    cooldowns, finished = cooldowns_of(job.setup.settings.cooldown_fractions, run.schedule), 0
    total = run.steps + sum(cooldown.own_steps for cooldown in cooldowns)
    entries: list[EndEntry] = []

    def report(steps: int) -> None:
        progress((steps + finished) / total)

    parts = {
        cooldown.name: cast("CooldownEntry | None", job.finished_part(cooldown.name, identity))
        for cooldown in cooldowns
    }
    # The stable run must not be past the fork of a cooldown that has yet to be made.
    latest = min((cooldown.fork for cooldown in cooldowns if parts[cooldown.name] is None), default=None)
    with Trainer(run, job.checkpoints, job.folder / "metrics.jsonl", identity, latest=latest) as stable:
        for cooldown in cooldowns:
            stable.advance(cooldown.fork, report)
            entry = parts[cooldown.name] or _cool_down(job, cooldown, stable, report)
            stable.add_usage(entry["usage"])
            entries.append(cast(EndEntry, {key: value for key, value in entry.items() if key != "usage"}))
            finished += cooldown.own_steps
        stable.advance(run.steps, report)
    job.save(run, "model.safetensors")
    scores, meter = job.score(run), stable.meter
    meter.count(0, validation_flops(job.setup.shape, job.validation))
    entries.append({"share": 1.0, "tokens": stable.tokens, "steps": run.steps, **scores})
    result: PretrainingResult = {
        **scores,
        "parameters": shapes.parameters(job.setup.shape),
        "non_embedding_parameters": shapes.non_embedding_parameters(job.setup.shape),
        "tokens": stable.tokens,
        "seconds": meter.seconds,
        "tokens_per_second": meter.tokens / max(meter.seconds, 1e-9),
        "train_flops": run.flops(stable.tokens, stable.masked),
        "ranks": job.setup.group.count,
        "cooldowns": entries,
        "cost": meter.entry(job.peak_tflops),
        "notes": _notes(stable),
    }
    return result if run.compiled is None else {**result, "compiled": run.compiled.entry()}


def _notes(trainer: Trainer) -> list[Note]:
    """Findings on damaged checkpoints, and on a loss that a GPU ran uncompiled."""
    compiled = trainer.run.compiled
    failed = [] if compiled is None or compiled.note is None else [compiled.note.model_dump()]
    return [*trainer.saver.notes, *failed]


def _cool_down(
    job: PretrainingJob, cooldown: Cooldown, stable: Trainer, report: Callable[[int], None]
) -> CooldownEntry:
    """Decay the weights of the stable run, save and validate them, and restore the stable run."""
    run = stable.run
    stable.save()  # after an interruption the stable run is at the fork
    state, schedule = run.state(), run.schedule
    run.schedule = cooldown.schedule
    folder, metrics = job.checkpoints / cooldown.name, job.folder / f"{cooldown.name}.jsonl"
    with Trainer(run, folder, metrics, stable.identity, parent=stable) as decay:
        decay.advance(run.steps, report)
        job.save(run, f"{cooldown.name}.safetensors")
        end: EndEntry = {
            "share": cooldown.fraction, "tokens": decay.tokens, "steps": run.steps, **job.score(run)
        }  # fmt: skip
        decay.meter.count(0, validation_flops(job.setup.shape, job.validation))
    # The checkpoint of the stable run does not contain this cost, and a resumed process skips the cooldown.
    entry: CooldownEntry = {**end, "usage": stable.meter.state()}
    job.finish_part(cooldown.name, stable.identity, entry)
    run.schedule = schedule
    run.restore(state)
    return entry


def sweep_learning_rates(job: PretrainingJob, progress: Progress) -> SweepResult:
    """Pretrain for `lr_sweep_fraction` of the budget, decay included, at each rate of `lr_sweep`.

    Returns the result in `cell.json`: `lr_sweep` has the validation loss of each rate, null where training
    diverged. Writes `rate-<rate>.jsonl` and no weights. Resumable as `pretrain`.
    """
    settings = job.setup.settings
    entries: list[RateEntry] = []
    for rate in settings.lr_sweep:
        changed = settings.model_copy(update={"learning_rate": rate, "cooldown_fractions": [1.0]})
        part = replace(job, setup=replace(job.setup, settings=changed))
        name = f"rate-{rate:g}"
        identity = artifacts.fingerprint(of=part.identity(), share=settings.lr_sweep_fraction)
        done = len(entries)

        def report(fraction: float, done: int = done) -> None:
            progress((done + fraction) / len(settings.lr_sweep))

        done_before = cast("RateEntry | None", job.finished_part(name, identity))
        entries.append(done_before or _run_rate(part, name, identity, report))
    meter = CostMeter(job.setup.device, sum_of_states([entry["usage"] for entry in entries]))
    return {
        "parameters": shapes.parameters(job.setup.shape),
        "tokens": sum(entry["tokens"] for entry in entries),
        "seconds": meter.seconds,
        "train_flops": sum(entry["train_flops"] for entry in entries),
        "lr_sweep": [
            RateLoss(learning_rate=one["learning_rate"], validation_loss=one["validation_loss"])
            for one in entries
        ],
        "cost": meter.entry(job.peak_tflops),
        "notes": [note for entry in entries for note in entry["notes"]],
    }


def _run_rate(job: PretrainingJob, name: str, identity: str, progress: Progress) -> RateEntry:
    settings = job.setup.settings
    run = PretrainingRun(job.setup, settings.lr_sweep_fraction)
    with Trainer(run, job.checkpoints / name, job.folder / f"{name}.jsonl", identity) as trainer:
        try:
            trainer.advance(run.steps, lambda steps: progress(steps / run.steps))
            loss = job.score(run)["validation_loss"]
            trainer.meter.count(0, validation_flops(job.setup.shape, job.validation))
        except Diverged:
            loss = None
    entry: RateEntry = {
        "learning_rate": settings.learning_rate,
        "validation_loss": loss,
        "tokens": trainer.tokens,
        "usage": trainer.meter.state(),
        "notes": _notes(trainer),
        "train_flops": run.flops(trainer.tokens, trainer.masked),
    }
    job.finish_part(name, identity, entry)
    return entry


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
