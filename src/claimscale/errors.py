"""The errors that end a command, each with its exit code; no message holds a patient's data or a secret."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from claimscale.redaction import redact


class BadInput(Exception):
    """An input cannot be used: one line that names the cause and the place. Exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class Interrupted(Exception):
    """Work stopped before its end; the same command resumes it. Exit code 3."""

    exit_code = 3


class Damaged(Interrupted):
    """A file of a run is damaged: its bytes are not those that were written. The study makes it again."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file}: is damaged (its checksum differs); the study makes it again")


class DamageFound(Exception):
    """Files were checked and some are damaged. Exit code 1."""

    exit_code = 1


@contextlib.contextmanager
def naming(place: str) -> Iterator[None]:
    """Prefix the message of a BadInput raised in the block with its place."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None


def fault(error: BaseException) -> Interrupted:
    """An unforeseen error as one line: its type and its place in this package, without its text.

    The text of an exception may quote a patient's row. CLAIMSCALE_DEBUG=1 shows the full traceback.
    """
    package = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(package)] or frames
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "an unknown place"
    return Interrupted(
        f"fault: {type(error).__name__} in {where}; please report it (CLAIMSCALE_DEBUG=1 shows it whole)"
    )
