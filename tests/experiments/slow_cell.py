"""A cell for test_slurm that is at work until it is stopped, and done the next time."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from claimscale.experiments.runners.slurm import CellJob


@dataclass
class SlowCell(CellJob):
    def _run(self) -> None:
        tries = Path(self.run) / "tries"
        with tries.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        if len(tries.read_text().splitlines()) == 1:
            time.sleep(600)
