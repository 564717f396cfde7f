"""What the command line does besides its verbs: last words, Ctrl-C, arguments that mean something else."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from claimscale.errors import BadInput, Interrupted
from claimscale.redaction import redact

STOPPED = "stopped; run the same command to resume"


def say(line: str, code: int) -> int:
    """Print the last line of a command that failed, without passwords. Returns the exit code."""
    from claimscale.experiments.runners import torchrun

    if not torchrun.is_main():  # all processes find the same fault: one prints it
        if code == BadInput.exit_code:
            return code
        line = f"rank {os.environ['RANK']}: {line}"
    print(f"claimscale: {redact(line)}", file=sys.stderr)
    return code


def refuse_loose_values(arguments: list[str]) -> None:
    """Raise BadInput for `--set key value`, which means `--set key=value`."""
    for name, setting, *rest in (arguments[place : place + 3] for place in range(len(arguments) - 1)):
        if name == "--set" and "=" not in setting:
            value = rest[0] if rest and not rest[0].startswith("--") else "VALUE"
            raise BadInput(f"--set {setting}: write --set {setting}={value}")


def end_at_second_interrupt() -> None:
    """The first Ctrl-C stops the command in order; a second one ends it at once, with the same exit code.

    SIGTERM, which schedulers and shutdowns send, is treated as Ctrl-C. Nothing is lost: folders are complete
    or absent, and workers end with this process. While a module is being imported the first one ends it at
    once: half a module makes other errors, or a crash.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup ignores Ctrl-C
        signal.signal(signal.SIGINT, _first)
    signal.signal(signal.SIGTERM, _first)


def _first(number: int, frame: FrameType | None) -> None:
    if _imports(frame):
        _second(number, frame)
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, _second)
    raise KeyboardInterrupt


def _second(number: int, frame: FrameType | None) -> None:
    # The stream may be in use where the signal arrives: this writes past it.
    os.write(2, f"claimscale: {STOPPED}\n".encode())
    os._exit(Interrupted.exit_code)


def _imports(frame: FrameType | None) -> bool:
    """Whether the frame is part of an import."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
