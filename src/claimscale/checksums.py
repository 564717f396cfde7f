"""SHA-256 of files, computed once per process as long as a file stays as it is."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of content and of attributes.

A file that was written since has another stamp, also if its name, size and `mtime` are as before.
"""

SETTLED_NS = 100_000_000
"""A digest is kept only of a file that was last changed so long ago: clocks of file systems are coarse."""
MAX_THREADS = 8
_known: dict[Stamp, str] = {}


def file_digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError if it cannot be read."""
    with file.open("rb") as stream:
        stat = os.fstat(stream.fileno())
        stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if stamp in _known:
            return _known[stamp]
        settled = time.time_ns() - stat.st_ctime_ns > SETTLED_NS
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if settled:
            _known[stamp] = digest
        return digest


def file_digests(files: Sequence[Path]) -> list[str | None]:
    """SHA-256 of each file, None if it cannot be read; several files are read at once."""
    if len(files) < 2:
        return [_digest_or_none(file) for file in files]
    with ThreadPoolExecutor(min(len(files), MAX_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(_digest_or_none, files))


def known() -> Mapping[Stamp, str]:
    """The digests that this process has computed, for `adopt` in another process of this machine."""
    return dict(_known)


def adopt(digests: Mapping[Stamp, str]) -> None:
    """Take over the digests of another process of this machine."""
    _known.update(digests)


def _digest_or_none(file: Path) -> str | None:
    try:
        return file_digest(file)
    except OSError:
        return None
