"""What a summary was made with: versions of the libraries, and what the data stages left."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from claimscale import artifacts

LIBRARIES = (
    "claimscale", "torch", "numpy", "scipy", "scikit-learn", "lightgbm", "duckdb", "ibis-framework",
    "pyarrow",
)  # fmt: skip
STAGES = ("events", "cohort", "tokens", "labels")


def provenance(run_directory: Path) -> dict[str, Any]:
    """`versions` by library, `manifests`: the first 16 digits of each stage's digest; no path, no host."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    manifests = {
        stage: artifacts.manifest_digest(run_directory / stage)[:16]
        for stage in STAGES
        if (run_directory / stage / artifacts.MANIFEST).exists()
    }
    return {"versions": versions, "manifests": manifests}
