"""Which worker sees which GPU."""

from __future__ import annotations

import os
from multiprocessing import SimpleQueue
from pathlib import Path

import pytest

from claimscale.config import loading
from claimscale.experiments import devices
from claimscale.experiments.runners import local, torchrun


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The device files of a machine with eleven GPUs."""
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("nvidiactl", "nvidia-uvm", "null", *(f"nvidia{number}" for number in range(11))):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("auto", None, [str(number) for number in range(11)]),
        ("cuda", "2,5", ["2", "5"]),
        ("auto", "GPU-8f3a, MIG-77", ["GPU-8f3a", "MIG-77"]),
        ("auto", "", []),
        ("auto", "-1", []),
        ("cpu", "0,1", []),
    ],
)
def test_the_gpus_are_those_that_are_visible(
    write_study, machine: Path, monkeypatch, device: str, visible: str | None, expected: list[str]
) -> None:
    study = loading.load(write_study(compute={"device": device}))
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    if visible is not None:
        monkeypatch.setenv(devices.VISIBLE, visible)
    assert devices.gpus(study, machine) == expected


def test_one_worker_per_gpu_or_else_per_core(write_study, monkeypatch) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 12)
    monkeypatch.setenv(devices.VISIBLE, "0,1,2")
    assert devices.workers_and_threads(loading.load(write_study())) == (3, 4)
    assert devices.workers_and_threads(loading.load(write_study(compute={"device": "cpu"}))) == (12, 1)
    assert devices.workers_and_threads(loading.load(write_study(compute={"workers": 5}))) == (5, 2)
    monkeypatch.setenv(devices.VISIBLE, "")
    assert devices.workers_and_threads(loading.load(write_study())) == (12, 1)


def test_each_worker_sees_one_gpu_of_its_own(write_study, tmp_path: Path, monkeypatch) -> None:
    study = loading.load(write_study(compute={"device": "cuda"}))
    monkeypatch.setattr(local.signal, "signal", lambda *given: None)
    monkeypatch.setattr(local.threading, "Thread", lambda **given: type("T", (), {"start": lambda s: None})())
    queue: SimpleQueue[str] = SimpleQueue()
    seen = []
    for name in ("4", "MIG-9"):
        queue.put(name)
    for _ in range(2):
        monkeypatch.setenv(devices.VISIBLE, "4,MIG-9")
        local._start_worker(study, tmp_path, SimpleQueue(), queue, {})
        seen.append(os.environ[devices.VISIBLE])
    assert seen == ["4", "MIG-9"]


def test_torchrun_is_known_by_what_it_sets(monkeypatch) -> None:
    for name in torchrun.SET_BY_LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "3")  # some machines set it for reasons of their own
    assert not torchrun.launched() and torchrun.is_main()
    for name in torchrun.SET_BY_LAUNCHERS - {"RANK"}:
        monkeypatch.setenv(name, "0")
    assert torchrun.launched() and not torchrun.is_main()
    monkeypatch.setenv("RANK", "0")
    assert torchrun.is_main()
