"""claimscale: the smallest foundation model that is good enough, for each clinical question.

The Python interface (docs/python.md): Study, Run, ModelPackage, ClaimsClassifier, ClaimsEmbedder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claimscale.inference.estimators import ClaimsClassifier, ClaimsEmbedder
    from claimscale.inference.package import ModelPackage
    from claimscale.runs import Run, Study

__version__ = "0.1.0"
__all__ = ["ClaimsClassifier", "ClaimsEmbedder", "ModelPackage", "Run", "Study", "__version__"]

_MODULES = {
    "Study": "claimscale.runs",
    "Run": "claimscale.runs",
    "ModelPackage": "claimscale.inference.package",
    "ClaimsClassifier": "claimscale.inference.estimators",
    "ClaimsEmbedder": "claimscale.inference.estimators",
}


def __getattr__(name: str) -> Any:
    """Import a class at its first use: importing claimscale alone takes milliseconds."""
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
