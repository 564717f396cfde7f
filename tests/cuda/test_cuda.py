"""A CUDA build of torch over a library that computes nothing; README.md says how to provide them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

PYTHON, LIBRARY = (os.environ.get(f"CLAIMSCALE_CUDA_{name}", "") for name in ("PYTHON", "LIBRARY"))
pytestmark = pytest.mark.skipif(
    not (PYTHON and LIBRARY), reason="no CUDA build and do-nothing CUDA library: see tests/cuda/README.md"
)
HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
LAUNCHES, LAUNCHES_PER_LAYER = 230, 36
"""Most launches of a step without its layers, and of a layer."""
SECONDS = 3600


def _run(folder: Path, *arguments: str) -> str:
    """The output of the CUDA build's Python; what it compiles stays in `folder`."""
    library = Path(LIBRARY).resolve()
    caches = {
        name: str(folder / name)
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "NUMBA_CACHE_DIR")
    }
    environment = {
        **os.environ, **caches, "LD_PRELOAD": str(library), "LD_LIBRARY_PATH": str(library.parent),
        "TRITON_LIBCUDA_PATH": str(library.parent), "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [PYTHON, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_step_neither_waits_nor_launches_more_than_it_needs(tmp_path: Path) -> None:
    """Three sizes in one process; each is compiled, also the last."""
    sizes = {"64x1x96": 1, "64x2x96": 2, "128x1x160": 1}
    found = json.loads(_run(tmp_path, str(HERE / "count_steps.py"), LIBRARY, *sizes).splitlines()[-1])
    for size, layers in sizes.items():
        counted = found[size]
        assert (counted["waits"], counted["seen"]) == (0, {}), size
        assert counted["launches"] <= LAUNCHES + LAUNCHES_PER_LAYER * layers, (size, counted)
        assert 1 <= counted["graphs"] <= 2 and not counted["uncompiled"], (size, counted)


def test_a_small_study_completes(tmp_path: Path) -> None:
    """From claims to the report, with the numbers of kernels that computed nothing."""
    study = {
        "name": "tiny",
        "source": {"kind": "simulated", "patients": 1500, "hospitals": 3},
        "cohort": {"landmark": "2020-10-01"},
        "sizes": ["80k", "160k"],
        "tasks": ["ckd"],
        "pretrain": {"epochs": 1},
        "finetune": {"epochs": 1, "seeds": [42]},
        "compute": {"device": "cuda", "workers": 1},
    }
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study).replace("'2020-10-01'", "2020-10-01"), "utf-8")
    _run(tmp_path, "-m", "claimscale", "study", str(file))
    cells = list(tmp_path.glob("runs/*/cells/pretrain-*/cell.json"))
    assert len(cells) == len(study["sizes"])
    for cell in cells:
        compiled = json.loads(cell.read_text())["result"]["compiled"]
        assert compiled["graphs"] >= 1 and not compiled["uncompiled"]
    assert list(tmp_path.glob("runs/*/report.html"))
