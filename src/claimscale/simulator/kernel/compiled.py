"""Compilation and caching of the kernel's functions.

numba caches machine code on disk. It recompiles a function whose file has changed, but not a function that
calls one in a changed file. Compiled functions therefore carry a digest of all modules of this folder in
their names, so that every edit recompiles them.

Each call of a compiled function counts references to every array it receives. `Parameters` has sixty arrays,
and counting took nine tenths of the time. Functions that allocate nothing are therefore compiled without
reference counting; their callers hold the arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

SOURCES = sorted(Path(__file__).parent.glob("*.py"))
DIGEST = hashlib.sha256(b"".join(file.read_bytes() for file in SOURCES)).hexdigest()[:12]
OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy"}
INNER: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For functions that only compiled code calls, without wrappers for Python."""
UNCOUNTED: dict[str, Any] = {**INNER, "_nrt": False}


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that allocates no array."""
    return njit(**UNCOUNTED)(_named(function))


def allocating(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that allocates arrays."""
    return njit(**INNER)(_named(function))


def entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that Python calls; it releases the interpreter lock."""
    return njit(**OPTIONS, nogil=True)(_named(function))


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    function.__qualname__ += f"_{DIGEST}"
    return function
