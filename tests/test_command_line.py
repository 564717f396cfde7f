"""The ends of a command: Ctrl-C once and twice, and arguments that mean something else."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claimscale import cli
from claimscale.command_line import STOPPED, say

WORK = """
import signal, sys, time
from claimscale import cli
from claimscale.__main__ import main

def work(*arguments, **more):
    try:
        print("working", flush=True)
        time.sleep(600)
    finally:
        print("tidying up", flush=True)
        time.sleep(600 if sys.argv[1] == "slow" else 0)

cli.app = work
main()
"""


def start(tidying: str, number: signal.Signals = signal.SIGINT) -> subprocess.Popen[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", WORK, tidying], text=True, **streams)
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    process.send_signal(number)
    assert process.stdout.readline() == "tidying up\n"
    return process


def test_an_interrupt_during_an_import_is_one_line(tmp_path: Path) -> None:
    """The exception would leave half a module, whose users then fail in ways of their own."""
    (tmp_path / "slow_module.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(600)\n")
    code = """
from claimscale import cli
from claimscale.__main__ import main

def work(*arguments, **more):
    try:
        import slow_module
    except BaseException:
        print("half a module")

cli.app = work
main()
"""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], text=True, cwd=tmp_path, **streams)
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (3, "", f"claimscale: {STOPPED}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_stops_in_order(number: signal.Signals) -> None:
    process = start("quick", number)
    assert process.communicate(timeout=60)[1] == f"claimscale: {STOPPED}\n"
    assert process.returncode == 3


def test_a_second_interrupt_ends_at_once_with_the_same_code() -> None:
    process = start("slow")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == f"claimscale: {STOPPED}\n"
    assert process.returncode == 3


def test_a_command_that_ignores_interrupts_still_does() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += "from claimscale.command_line import end_at_second_interrupt; end_at_second_interrupt()\n"
    code += "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "seed", "2"], "--set seed: write --set seed=2"),
        (["--set", "seed=1", "--set", "pretrain.epochs", "3"], "write --set pretrain.epochs=3"),
        (["--set", "seed", "--calibrate"], "--set seed: write --set seed=VALUE"),
        (["--set", "seed"], "--set seed: write --set seed=VALUE"),
    ],
)
def test_a_value_without_an_equals_sign_is_told_how(
    arguments: list[str], expected: str, write_study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.call(["plan", str(write_study()), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("claimscale: --set ") and expected in error and error.count("\n") == 1


def test_last_words_hold_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert say("postgres://reader:secret@host/cdm: refused", 3) == 3
    assert capsys.readouterr().err == "claimscale: postgres://reader:***@host/cdm: refused\n"
