"""Short pretrainings at several learning rates: does the one that serves all sizes suit this one?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from claimscale import artifacts
from claimscale.config.training import Pretrain
from claimscale.model import shapes
from claimscale.training import loop
from claimscale.training.cost import CostMeter, added_up
from claimscale.training.pretraining_job import Job
from claimscale.training.trainer import Trainer


def sweep_learning_rates(job: Job, settings: Pretrain, progress: Callable[[float], None]) -> dict[str, Any]:
    """Pretrain for `settings.sweep_share` of the budget, decay included, at each of its `learning_rates`.

    Takes what `pretrain` takes. Returns what the cell records: `lr_sweep` has for each rate the validation
    loss, null where training diverged. Writes `rate-<rate>.jsonl`; keeps no weights. Resumable at any moment.
    """
    entries = []
    for rate in settings.lr_sweep:
        tried = settings.model_copy(update={"learning_rate": rate, "cooldown_fractions": [1.0]})
        name, identity = (
            f"rate-{rate:g}",
            artifacts.fingerprint(of=job.identity(tried), share=settings.lr_sweep_fraction),
        )
        done = len(entries)

        def report(share: float, done: int = done) -> None:
            progress((done + share) / len(settings.lr_sweep))

        entry = job.recorded(name, identity) or _try_rate(job, tried, name, identity, report)
        entries.append(entry)
    meter = CostMeter(job.device, added_up([entry["spent"] for entry in entries]))
    return {
        "parameters": shapes.parameters(job.shape),
        "tokens": sum(entry["tokens"] for entry in entries),
        "seconds": meter.seconds,
        "train_flops": sum(entry["train_flops"] for entry in entries),
        "lr_sweep": [{key: entry[key] for key in ("learning_rate", "validation_loss")} for entry in entries],
        "cost": meter.entry(job.peak_tflops),
        "notes": [note for entry in entries for note in entry["notes"]],
    }


def _try_rate(
    job: Job, settings: Pretrain, name: str, identity: str, report: Callable[[float], None]
) -> dict[str, Any]:
    run = job.run(settings, settings.lr_sweep_fraction)
    metrics, minutes = job.folder / f"{name}.jsonl", settings.checkpoint_minutes
    with Trainer(run, job.checkpoints / name, metrics, identity, minutes) as trainer:
        try:
            trainer.advance(run.steps, lambda steps: report(steps / run.steps))
            loss = job.score(run)["validation_loss"]
            trainer.meter.count(0, job.scoring_flops(run))
        except loop.Diverged:
            loss = None
    entry = {
        "learning_rate": settings.learning_rate,
        "validation_loss": loss,
        "tokens": trainer.tokens,
        "spent": trainer.meter.state(),
        "notes": trainer.saver.notes,
        "train_flops": run.flops(trainer.tokens, trainer.masked),
    }
    job.record(name, identity, entry)
    return entry
