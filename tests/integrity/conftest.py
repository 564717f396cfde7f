"""The finished study whose copies are damaged; the tests of packages share it."""

from __future__ import annotations

import os

import pytest
import torch
from packaged_study import PackagedStudy


@pytest.fixture(scope="session")
def packaged_study(tmp_path_factory: pytest.TempPathFactory) -> PackagedStudy:
    torch.set_num_threads(1)
    base = tmp_path_factory.getbasetemp()
    # The processes of one run share the folder above their own; without them it belongs to all runs.
    return PackagedStudy((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "packaged-study")
