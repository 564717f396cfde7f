"""The lock of a run directory: one process works there, and only its user can read what it writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from claimscale import artifacts
from claimscale.errors import BadInput


@contextlib.contextmanager
def locked(run_directory: Path) -> Iterator[None]:
    """Lock the run directory; raises BadInput if another process holds it.

    Only the user can read what is written meanwhile: it is about patients. What a killed process left in
    scratch folders is removed.
    """
    artifacts.make_folder(run_directory.parent)
    with only_for_the_user():
        artifacts.make_folder(run_directory)
        try:
            stream = (run_directory / ".lock").open("w")
        except OSError as error:
            raise BadInput(f"{run_directory}: cannot be written ({error.strerror})") from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(f"{run_directory}: another claimscale is at work there") from None
            with contextlib.suppress(PermissionError):  # another user's folder
                run_directory.chmod(0o700)
            for left in (
                *run_directory.glob(f"{artifacts.SCRATCH}*"),
                *run_directory.glob(f"*{artifacts.PARTIAL}"),
            ):
                if not _is_in_use(left):
                    artifacts.remove(left)
            yield


def _is_in_use(folder: Path) -> bool:
    """Whether it belongs to a Spark session of a process that lives; the lock excludes other scratch."""
    process = folder.name.removeprefix(artifacts.SPARK_SCRATCH).split("-")[0]
    if not folder.name.startswith(artifacts.SPARK_SCRATCH) or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


@contextlib.contextmanager
def only_for_the_user() -> Iterator[None]:
    """Files 0600 and folders 0700, also those of libraries and of child processes."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
