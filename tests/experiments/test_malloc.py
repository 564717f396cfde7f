from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from claimscale.experiments import malloc

LARGE = """
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [bytearray(24 << 20) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_workers_get_the_same_memory_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(malloc.VARIABLE, "")  # so that it is taken back afterwards
    monkeypatch.delenv(malloc.VARIABLE)
    malloc.prepare_workers()
    # 96 MiB are 24,576 pages of 4 KiB, or 48 large ones: fetched once, not twenty times.
    assert page_faults() < 30_000


def page_faults() -> int:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(malloc.VARIABLE, "glibc.malloc.arena_max=1")
    malloc.prepare_workers()
    assert os.environ[malloc.VARIABLE] == "glibc.malloc.arena_max=1"
