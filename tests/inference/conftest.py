"""The study that all tests of packages share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from packaged_study import PackagedStudy

from claimscale.inference.package import ModelPackage


@pytest.fixture(scope="session")
def packaged_study(tmp_path_factory: pytest.TempPathFactory) -> PackagedStudy:
    torch.set_num_threads(1)
    base = tmp_path_factory.getbasetemp()
    # The processes of one run share the folder above their own; without them it belongs to all runs.
    return PackagedStudy((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "packaged-study")


@pytest.fixture(scope="session")
def run(packaged_study: PackagedStudy) -> Path:
    return packaged_study.run


@pytest.fixture(scope="session")
def packages(packaged_study: PackagedStudy) -> Path:
    return packaged_study.folder / "packages"


@pytest.fixture(scope="session")
def encoder(packaged_study: PackagedStudy) -> ModelPackage:
    return packaged_study.open("encoder")
