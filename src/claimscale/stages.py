"""From claims to labelled, tokenised patients: the stages before any model, each made once.

Every stage is a folder of the run directory. It is made again only when what it was made from has
changed: settings, upstream folders or its version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimscale import artifacts, sources
from claimscale.cohort import selection as cohort
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.events import build as events
from claimscale.tasks import label_files, labels as tasks, oracle
from claimscale.tokens import store as tokens
from claimscale.versions import VERSIONS


@dataclass(frozen=True)
class Stage:
    """One folder of the run directory: what it is made from, and what makes it.

    Attributes:
        name: the folder.
        effort: its usual share of the time, for the progress display only.
        upstream: stages it reads.
        settings: the part of the study it depends on.
        build: called with the study, an engine, the run directory and the folder to fill.
    """

    name: str
    effort: float
    upstream: tuple[str, ...]
    settings: dict[str, Any]
    build: Callable[[Study, Engine, Path, Path], None]

    def inputs(self, run: Path) -> str:
        """Fingerprint of all that the stage is made from; its upstream stages must be there."""
        return artifacts.fingerprint(
            upstream={name: artifacts.manifest_digest(run / name) for name in self.upstream},
            version=VERSIONS[self.name],
            settings=self.settings,
        )

    def is_current(self, run: Path) -> bool:
        try:
            return artifacts.is_current(run / self.name, self.inputs(run))
        except OSError:  # an upstream stage is missing
            return False

    def make(self, study: Study, run: Path) -> None:
        with (
            Engine(study.engine, run) as engine,
            artifacts.building(run / self.name, self.inputs(run)) as target,
        ):
            self.build(study, engine, run, target)


def stages_of(study: Study) -> list[Stage]:
    """The data stages in the order they depend on each other."""
    source = {"source": sources.fingerprint(study.source), "seed": study.seed}
    who = {"cohort": study.cohort.model_dump(mode="json"), "seed": study.seed}
    described = {"deduplicate": study.tokens.deduplicate}  # the description counts what a model can see
    which = {"min_patients": study.tokens.min_patients, "rollup": study.tokens.rollup}
    asked = {
        "tasks": [task.model_dump(mode="json") for task in study.tasks],
        "label_files": label_files.identity(study),
        "seed": study.seed,
    }
    stages = [
        Stage("events", 4, (), source, _build_events),
        Stage("cohort", 1, ("events",), who | described, _build_cohort),
        Stage("tokens", 2, ("events", "cohort"), which, _build_tokens),
        Stage("labels", 2, ("events", "cohort"), asked, _build_labels),
    ]
    if study.source.kind == "simulated":
        stages.append(Stage("oracle", 6, ("labels",), source | asked, _build_oracle))
    return stages


def prepare(study: Study, run: Path, report: Callable[[str, float], None]) -> None:
    """Make every stage that is not current; `report(stage, fraction)` is called as they pass."""
    stages = stages_of(study)
    total = sum(stage.effort for stage in stages)
    passed = 0.0
    for stage in stages:
        report(stage.name, passed / total)
        if not stage.is_current(run):
            stage.make(study, run)
            artifacts.append_audit(run, "built", stage=stage.name)
        passed += stage.effort
    report("prepared", 1.0)


def _build_events(study: Study, engine: Engine, run: Path, target: Path) -> None:
    events.build(study, engine, target)


def _build_cohort(study: Study, engine: Engine, run: Path, target: Path) -> None:
    cohort.build(study, engine, run / "events", target)


def _build_tokens(study: Study, engine: Engine, run: Path, target: Path) -> None:
    tokens.build(study, engine, run / "events", run / "cohort", target)


def _build_labels(study: Study, engine: Engine, run: Path, target: Path) -> None:
    tasks.build(study, engine, run / "events", run / "cohort", target)


def _build_oracle(study: Study, engine: Engine, run: Path, target: Path) -> None:
    oracle.build(study, run / "labels", target)
