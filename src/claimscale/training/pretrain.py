"""Masked-code pretraining of one encoder, resumable at any moment: its trunk and the branches of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from claimscale.config.study import Pretrain
from claimscale.model import shapes as sizes
from claimscale.training.lr_schedule import Branch, branches_of
from claimscale.training.pretraining_job import Job
from claimscale.training.trainer import Stretch


def pretrain(job: Job, settings: Pretrain, progress: Callable[[float], None]) -> dict[str, Any]:
    """Pretrain and score; returns what the cell records.

    Writes `model.safetensors` and `metrics.jsonl` to the job's folder; for each smaller share of the budget
    in `settings.branches` the same as `branch-<share>.*`; and, while it runs, checkpoints to `checkpoints`
    there. Called again after a kill it goes on from the newest checkpoint and ends with the same weights; the
    caller removes the checkpoints once the result is on disk. `progress` is told the share done. Losses are
    in nats per code. Ranks that the process has joined share every step, and the first one writes.
    """
    run, identity = job.run(settings), job.identity(settings)
    branches, finished = branches_of(settings.cooldown_fractions, run.schedule), 0
    total = run.steps + sum(branch.own_steps for branch in branches)
    entries = []

    def report(steps: int) -> None:
        progress((steps + finished) / total)

    minutes = settings.checkpoint_minutes
    with Stretch(run, job.checkpoints, job.folder / "metrics.jsonl", identity, minutes) as trunk:
        for branch in branches:
            trunk.advance(branch.fork, report)
            entry = job.recorded(branch.name, identity) or _follow(job, branch, trunk, report)
            trunk.has_spent(entry.pop("spent"))
            entries.append(entry)
            finished += branch.own_steps
        trunk.advance(run.steps, report)
    job.save(run, "model.safetensors")
    score = job.score(run)
    trunk.ledger.count(0, job.scoring_flops(run))
    entries.append({"share": 1.0, "tokens": trunk.tokens, "steps": run.steps, **score})
    return {
        **score,
        "parameters": sizes.parameters(job.shape),
        "non_embedding_parameters": sizes.body_parameters(job.shape),
        "tokens": trunk.tokens,
        "seconds": trunk.ledger.seconds,
        "tokens_per_second": trunk.ledger.tokens / max(trunk.ledger.seconds, 1e-9),
        "train_flops": run.flops(trunk.tokens, trunk.masked),
        "ranks": job.ranks.count,
        "branches": entries,
        "cost": trunk.ledger.entry(job.peak_tflops),
        "notes": trunk.saver.notes,
    }


def _follow(job: Job, branch: Branch, trunk: Stretch, report: Callable[[int], None]) -> dict[str, Any]:
    """Let the weights of the trunk decay, save and score them, and put the trunk's back."""
    run = trunk.run
    trunk.save()  # whoever goes on after a kill finds the trunk where the branch leaves it
    state, schedule = run.state(), run.schedule
    run.schedule = branch.schedule
    folder, metrics = job.checkpoints / branch.name, job.folder / f"{branch.name}.jsonl"
    minutes = run.settings.checkpoint_minutes
    with Stretch(run, folder, metrics, trunk.identity, minutes, after=trunk) as decay:
        decay.advance(run.steps, report)
        job.save(run, f"{branch.name}.safetensors")
        entry = {"share": branch.share, "tokens": decay.tokens, "steps": run.steps, **job.score(run)}
        decay.ledger.count(0, job.scoring_flops(run))
    # The trunk's own checkpoint knows nothing of this yet, and whoever goes on from it skips the branch.
    entry["spent"] = trunk.ledger.state()
    job.record(branch.name, trunk.identity, entry)
    run.schedule = schedule
    run.restore(state)
    return entry
