"""What a summary was made with: versions of the libraries, and what the data stages left."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from claimscale import artifacts
from claimscale.summary.statistics_schema import ProvenanceEntry

LIBRARIES = (
    "claimscale", "torch", "numpy", "scipy", "scikit-learn", "lightgbm", "duckdb", "ibis-framework",
    "pyarrow",
)  # fmt: skip
STAGES = ("events", "cohort", "tokens", "labels")


def provenance(run_directory: Path) -> ProvenanceEntry:
    """Versions by library and the digests of the data stages; no path, no host."""
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
    return ProvenanceEntry(versions=versions, manifests=manifests)
