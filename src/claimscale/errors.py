"""The ways a command can fail, each with its exit code, and how a fault is told without a patient's data."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path


class BadInput(Exception):
    """Something the user gave cannot be used: one line naming the cause and the place. Exit code 2."""

    exit_code = 2


class Interrupted(Exception):
    """Work stopped before its end and a rerun of the same command resumes it. Exit code 3."""

    exit_code = 3


@contextlib.contextmanager
def naming(place: str) -> Iterator[None]:
    """Put the place at which something cannot be used before what the block says of it."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None


def fault(error: BaseException) -> Interrupted:
    """An unforeseen error as one line: its type and its place in this package, never its text.

    The text of an exception may quote a patient's row. Set CLAIMSCALE_DEBUG=1 to see the whole of it.
    """
    package = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(package)] or frames
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "an unknown place"
    return Interrupted(
        f"fault: {type(error).__name__} in {where}; please report it (CLAIMSCALE_DEBUG=1 shows it whole)"
    )
