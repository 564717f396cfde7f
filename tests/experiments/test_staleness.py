"""What makes a result stale: its version, settings and inputs, and nothing else."""

from __future__ import annotations

from typing import get_args

from claimscale.config.comparison import Baseline
from claimscale.stages import stages_of
from claimscale.versions import VERSIONS

CELLS = {"pretrain", "sweep", "finetune", *get_args(Baseline)}


def test_every_stage_and_kind_of_cell_has_a_version(study) -> None:
    stages = {stage.name for stage in stages_of(study)}
    assert set(VERSIONS) == stages | CELLS | {"validity", "summary", "report"}
