"""Masked-code pretraining of one encoder, resumable at any moment: its trunk and the cooldowns of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from claimscale.config.training import Pretrain
from claimscale.model import shapes
from claimscale.training.lr_schedule import Cooldown, cooldowns_of
from claimscale.training.pretraining_job import Job
from claimscale.training.trainer import Trainer


def pretrain(job: Job, settings: Pretrain, progress: Callable[[float], None]) -> dict[str, Any]:
    """Pretrain and score; returns what the cell records.

    Writes `model.safetensors` and `metrics.jsonl` to the job's folder; for each smaller share of the budget
    in `settings.cooldowns` the same as `cooldown-<share>.*`; and, while it runs, checkpoints to `checkpoints`
    there. Called again after a kill it goes on from the newest checkpoint and ends with the same weights; the
    caller removes the checkpoints once the result is on disk. `progress` is told the share done. Losses are
    in nats per code. ProcessGroup that the process has joined share every step, and the first one writes.
    """
    run, identity = job.run(settings), job.identity(settings)
    cooldowns, finished = cooldowns_of(settings.cooldown_fractions, run.schedule), 0
    total = run.steps + sum(cooldown.own_steps for cooldown in cooldowns)
    entries = []

    def report(steps: int) -> None:
        progress((steps + finished) / total)

    minutes = settings.checkpoint_minutes
    with Trainer(run, job.checkpoints, job.folder / "metrics.jsonl", identity, minutes) as trunk:
        for cooldown in cooldowns:
            trunk.advance(cooldown.fork, report)
            entry = job.recorded(cooldown.name, identity) or _follow(job, cooldown, trunk, report)
            trunk.has_spent(entry.pop("spent"))
            entries.append(entry)
            finished += cooldown.own_steps
        trunk.advance(run.steps, report)
    job.save(run, "model.safetensors")
    score = job.score(run)
    trunk.meter.count(0, job.scoring_flops(run))
    entries.append({"share": 1.0, "tokens": trunk.tokens, "steps": run.steps, **score})
    return {
        **score,
        "parameters": shapes.parameters(job.shape),
        "non_embedding_parameters": shapes.non_embedding_parameters(job.shape),
        "tokens": trunk.tokens,
        "seconds": trunk.meter.seconds,
        "tokens_per_second": trunk.meter.tokens / max(trunk.meter.seconds, 1e-9),
        "train_flops": run.flops(trunk.tokens, trunk.masked),
        "ranks": job.ranks.count,
        "cooldowns": entries,
        "cost": trunk.meter.entry(job.peak_tflops),
        "notes": trunk.saver.notes,
    }


def _follow(job: Job, cooldown: Cooldown, trunk: Trainer, report: Callable[[int], None]) -> dict[str, Any]:
    """Let the weights of the trunk decay, save and score them, and put the trunk's back."""
    run = trunk.run
    trunk.save()  # whoever goes on after a kill finds the trunk where the cooldown leaves it
    state, schedule = run.state(), run.schedule
    run.schedule = cooldown.schedule
    folder, metrics = job.checkpoints / cooldown.name, job.folder / f"{cooldown.name}.jsonl"
    minutes = run.settings.checkpoint_minutes
    with Trainer(run, folder, metrics, trunk.identity, minutes, after=trunk) as decay:
        decay.advance(run.steps, report)
        job.save(run, f"{cooldown.name}.safetensors")
        entry = {"share": cooldown.share, "tokens": decay.tokens, "steps": run.steps, **job.score(run)}
        decay.meter.count(0, job.scoring_flops(run))
    # The trunk's own checkpoint knows nothing of this yet, and whoever goes on from it skips the cooldown.
    entry["spent"] = trunk.meter.state()
    job.record(cooldown.name, trunk.identity, entry)
    run.schedule = schedule
    run.restore(state)
    return entry
