"""A whole study that is killed again and again at random moments ends with the bytes of one that was not.

Two in `make test`, by Ctrl-C and by a kill of all its processes; 20 in `make test-faults`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from packaged_study import STUDY, PackagedStudy

from claimscale.verification import verify

KILLS = int(os.environ.get("CLAIMSCALE_STUDY_KILLS", "2"))
SIGNALS = (signal.SIGINT, signal.SIGKILL, signal.SIGTERM)


def test_a_killed_study_ends_with_the_same_bytes(packaged_study: PackagedStudy, tmp_path: Path) -> None:
    file, run = tmp_path / "study.yaml", tmp_path / "runs" / "packaged"
    file.write_text(f"{STUDY}runs_dir: {tmp_path / 'runs'}\n", "utf-8")
    command = [sys.executable, "-m", "claimscale", "study", str(file)]
    draw, ended = random.Random(0), 0
    for number in range(KILLS):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
        time.sleep(draw.uniform(2, 16))
        os.killpg(process.pid, SIGNALS[number % len(SIGNALS)])
        _, error = process.communicate()
        ended += process.returncode == 0
        assert process.returncode in (0, 3, -signal.SIGKILL), error
        assert b"Traceback" not in error
    assert ended < KILLS, "no kill came before the end"
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert verify(run).problems == []
    left = [path.name for path in run.iterdir() if path.name.startswith("claimscale-")]
    assert left == [] and not list(run.rglob("*.partial")) and not (run / "damaged").exists()
    compared = 0
    for path in packaged_study.run.rglob("*"):
        name = path.relative_to(packaged_study.run)
        if path.suffix in (".parquet", ".npy", ".safetensors"):
            compared += 1
            assert (run / name).read_bytes() == path.read_bytes(), name
    assert compared > 10
    for path in run.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
