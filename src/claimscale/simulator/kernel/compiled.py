"""How the simulator's functions are compiled and kept.

numba keeps machine code on disk and drops it when the file of a function changes, but not when the file of a
function that it calls does: an edit could go unnoticed. The names of the compiled functions therefore carry a
digest of all modules of this folder, so that any edit makes new machine code.

Every call of a compiled function counts the references to every array that it is given, and a `World` has
sixty of them: that took nine tenths of the time. Functions that make no array of their own are therefore
compiled without counting; the functions that call them hold the arrays.
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
"""For functions that only compiled code calls: no wrappers for Python need be made."""
UNCOUNTED: dict[str, Any] = {**INNER, "_nrt": False}


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that makes no array."""
    return njit(**UNCOUNTED)(_named(function))


def allocating(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that makes arrays."""
    return njit(**INNER)(_named(function))


def entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that Python calls; other threads run meanwhile."""
    return njit(**OPTIONS, nogil=True)(_named(function))


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    function.__qualname__ += f"_{DIGEST}"
    return function
