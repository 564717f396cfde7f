"""Which runner a study file asks for."""

from __future__ import annotations

from collections.abc import Callable

from claimscale.config.study import Study
from claimscale.experiments.runners import Runner
from claimscale.experiments.runners.local import LocalRunner
from claimscale.experiments.runners.slurm import SlurmRunner


def runner_for(study: Study, after_each: Callable[[], None] | None = None, by_size: bool = True) -> Runner:
    """The runner that the study file asks for.

    `after_each` is called after each cell that this machine ran. `by_size` lets `compare.stopping: futility`
    run sizes in ascending order and stop.
    """
    runner = LocalRunner(after_each) if study.compute.slurm is None else SlurmRunner()
    if study.compare.stopping == "never" or not by_size:
        return runner
    from claimscale.experiments.futility import BySizeRunner  # statistics are slow to import

    return BySizeRunner(runner)
