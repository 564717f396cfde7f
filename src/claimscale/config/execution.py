"""The sections `engine` and `compute`: where tables are processed and models are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from claimscale.config.base import Count, Positive, Settings


class EngineSettings(Settings):
    """The engine of table operations: DuckDB in this process, or Spark (`claimscale[spark]`, Java 17)."""

    kind: Literal["duckdb", "spark"] = "duckdb"
    """Engine that processes tables."""
    master: str = "local[2]"
    """Address of the Spark cluster."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?(MB|GB)$")] = "2GB"
    """Memory limit of the engine."""


class Slurm(Settings):
    """One Slurm job per cell. A job that reaches its time limit is requeued and resumes from a checkpoint."""

    partition: str | None = None
    """Partition of the jobs; null for the cluster's default."""
    time_limit_minutes: Count = 240
    """Time limit of a job."""
    nodes: Count = 1
    """Nodes of a pretraining; other cells use one."""
    gpus: Annotated[int, Field(ge=0)] = 1
    """GPUs per node of a pretraining, one process each; other cells use one."""
    cores: Count = 8
    """CPU cores per process."""
    memory_gb: Positive | None = None
    """Memory per job in GB; null for the cluster's default."""
    max_jobs: Count = 100
    """Most jobs that are queued or running."""
    options: dict[str, str | int] = {}
    """Further options of sbatch, such as `qos: high`."""


class Compute(Settings):
    """Where cells run: on this machine, or as Slurm jobs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of training; `auto` uses a GPU where there is one."""
    workers: Count | None = None
    """Number of cells that run in parallel; null for one per GPU, or one per core without a GPU."""
    slurm: Slurm | None = None
    """Cells run as Slurm jobs (claimscale[slurm]); null runs them on this machine."""
    peak_tflops: Positive | None = None
    """Peak of one GPU or core in 1e12 operations per second, for the utilisation; null to measure it."""
