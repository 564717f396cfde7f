"""SIGKILL at random moments of pretraining and fine-tuning, a third of them inside a save.

Three kills of each in `make test`; 200 in `make test-faults`, also of pretraining without incident codes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("CLAIMSCALE_KILLS", "3"))
SEED = int(os.environ.get("CLAIMSCALE_KILLS_SEED", "0"))


KINDS = ["pretrain_incident", "finetune", *(["pretrain"] if KILLS > 3 else [])]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_trainings_end_with_the_same_bits(kind: str):
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, script, kind, str(KILLS), str(SEED)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    kills = [json.loads(line) for line in output.splitlines()]
    assert len(kills) == KILLS
    assert sum(kill["inside_a_save"] for kill in kills) == KILLS // 3
    assert KILLS < 10 or any(kill["resumed_at"] for kill in kills)  # few may all fall before the first save
    assert [number for number, kill in enumerate(kills) if not kill["equal"]] == []
