"""How the simulator's functions are compiled and kept.

numba keeps machine code on disk and drops it when the file of a function changes, but not when the file of a
function that it calls does: an edit could go unnoticed. The names of the compiled functions therefore carry a
digest of all modules of this folder, so that any edit makes new machine code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from claimscale.runs import code_digest

DIGEST = code_digest("simulator/kernel")[:12]
OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy"}


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only compiled functions call: no wrappers for Python need be made."""
    function.__qualname__ += f"_{DIGEST}"
    return njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that Python calls; other threads run meanwhile."""
    function.__qualname__ += f"_{DIGEST}"
    return njit(**OPTIONS, nogil=True)(function)
