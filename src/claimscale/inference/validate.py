"""Validation of a package on another database: its own question, its own rules, new patients.

The patients' labels are made here by the package's task; only aggregates leave the machine.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from claimscale.config.tasks import Task
from claimscale.constants import SEXES
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.evaluation.model_diagnostics import AGE_BANDS, SEX_NAMES, age_band_name
from claimscale.events.table import read_events
from claimscale.inference.calibration import FEWEST_POSITIVES, log_odds_of, recalibrate
from claimscale.inference.claims_end import claims_until, follow_up
from claimscale.inference.drift import codes_of, drift
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import code_counts, eligible_dates, lookup_of, shards
from claimscale.inference.performance import auroc, cross_fitted, observed_expected, performance
from claimscale.inference.scored_dates import ScoredDates
from claimscale.inference.source_file import Dates, SourceFile, parts_of, prepared
from claimscale.inference.validation_schema import (
    Flow,
    Performance,
    Profile,
    Shown,
    Subgroup,
    Validation,
)
from claimscale.packages.files import EVIDENCE, read_json_file
from claimscale.privacy.suppression import PROFILES, Rule, Sum, suppress_cells
from claimscale.progress import Display


def validate(
    package: ModelPackage, source: SourceFile, on: Sequence[dt.date], profile: Profile, display: Display
) -> Validation:
    """Validate the package on the patients of a source, assessed on the dates `on`.

    Raises BadInput for a package without a question or without rules, and if nobody is eligible.
    """
    task = rules_of(package)
    rule = PROFILES[profile]
    display.update(0.0, 60, "preparing claims")
    with prepared(package, source, max(on)) as (events, engine):
        followed = follow_up(task, on, claims_until(events, engine))
        found, eligible = with_outcomes(package, events, engine, on)
        lookup = lookup_of(events, engine, package.config, package.vocabulary)
        counts = code_counts(events, engine, package.vocabulary, lookup)
        scored = ScoredDates()
        for shard in shards(events, package.vocabulary, lookup):
            for part in parts_of(eligible, shard):
                scored.add(package, shard, part)
                display.update(0.8, 10, "scoring")
    display.update(0.9, 5, "comparing with outcomes")
    labels, risks, patient = scored.labels, scored.risks, scored.patient
    entries, line = _performance(package, labels, risks, patient, rule)
    return Validation(
        package=package.config.name,
        digest=package.digest,
        source=source.source.kind,
        simulated=source.source.kind == "simulated",
        task=task.name,
        dates=list(on),
        claims_until=followed.until,
        incomplete=followed.incomplete,
        privacy=profile,
        flow=_flow(found, eligible, rule),
        performance=entries,
        recalibration=None if followed.incomplete else line,
        subgroups=_subgroups(scored, rule),
        codes=codes_of(counts, scored),
        drift=drift(package, scored, rule),
        training=_training(package),
    )


def rules_of(package: ModelPackage) -> Task:
    """The question of a package. Raises BadInput unless it has rules by which outcomes are found."""
    task = package.config.task
    if task is None or task.labels is not None:
        raise BadInput(f"{package.folder}: has no question with rules, so that no outcome can be found")
    return task


def with_outcomes(
    package: ModelPackage, events: Path, engine: Engine, on: Sequence[dt.date]
) -> tuple[pa.Table, pa.Table]:
    """The index dates with enough known events, as `eligible_dates`, and those of them that are eligible.

    Raises BadInput if nobody is eligible.
    """
    dates = Dates(on=tuple(on)).table(read_events(engine, events))
    found = eligible_dates(events, engine, package.config, dates)
    if not len(found):
        raise BadInput(f"no patient has {package.config.min_events} known events on {on[0]}")
    eligible = found.filter(pa.array([reason is None for reason in found["excluded"].to_pylist()]))
    if not len(eligible):
        raise BadInput(f"no patient is eligible on {on[0]}: {_reasons(found)}")
    return found, eligible


def _reasons(found: pa.Table) -> str:
    reasons = [reason for reason in found["excluded"].to_pylist() if reason]
    return ", ".join(f"{reasons.count(name):,} {name}" for name in dict.fromkeys(reasons))


def _flow(found: pa.Table, eligible: pa.Table, rule: Rule | None) -> Flow:
    """The flow of patients, with small counts hidden so that no other count discloses them."""
    reasons = [reason for reason in found["excluded"].to_pylist() if reason]
    names = sorted(set(reasons))
    positives = int(np.count_nonzero(eligible["boolean_value"].to_numpy(zero_copy_only=False)))
    negatives = len(eligible) - positives
    censored = int(np.count_nonzero(eligible["censored"].to_numpy(zero_copy_only=False)))
    patients = len(np.unique(found["subject_id"].to_numpy()))
    counts = [len(found), len(eligible), positives, negatives, censored, negatives - censored, patients]
    counts += [reasons.count(name) for name in names]
    shown: list[Shown] = list(counts)
    if rule is not None:
        parts = tuple(range(7, len(counts)))
        sums = [Sum(0, (1, *parts)), Sum(1, (2, 3)), Sum(3, (4, 5))]
        shown = suppress_cells(counts, sums, rule)
    return Flow(
        patients=shown[6],
        predictions=shown[0],
        excluded=dict(zip(names, shown[7:], strict=True)),
        eligible=shown[1],
        positives=shown[2],
        censored=shown[4],
    )


def _performance(
    package: ModelPackage, labels: np.ndarray, risks: np.ndarray, patient: np.ndarray, rule: Rule | None
) -> tuple[list[Performance], tuple[float, float] | None]:
    """The versions of the risks, and the line that recalibrates them; nothing with too few outcomes."""
    positives, least = int(labels.sum()), max(2, rule.least if rule else 0)
    if min(positives, len(labels) - positives) < least:
        return [], None
    entries = [performance("as_is", labels, risks, patient, rule)]
    if package.calibration.method != "none":
        calibrated = package.calibration.calibrated(risks)
        entries.append(performance("calibrated", labels, calibrated, patient, rule))
    # Nine folds of ten must hold enough outcomes for a line.
    if min(positives, len(labels) - positives) < 2 * FEWEST_POSITIVES:
        return entries, None
    again = cross_fitted(labels, log_odds_of(risks), patient)
    entries.append(performance("recalibrated", labels, again, patient, rule))
    return entries, recalibrate(labels, risks)


def _subgroups(scored: ScoredDates, rule: Rule | None) -> list[Subgroup]:
    labels, risks, patient = scored.labels, scored.risks, scored.patient
    sex, age = scored.sexes, scored.measure("age_years")
    members = {("sex", SEX_NAMES[name]): sex == place for place, name in enumerate(SEXES)}
    for low, high in AGE_BANDS:
        members["age", age_band_name(low, high)] = (age >= low) & (age < high)
    found = []
    for by in ("sex", "age"):
        own = {name: member for (kind, name), member in members.items() if kind == by and member.any()}
        shown = _group_counts(own, labels, rule)
        for (name, member), (total, positives) in zip(own.items(), shown, strict=True):
            # Where a count is hidden, nothing is computed that would disclose it.
            chosen = member if isinstance(total, int) and isinstance(positives, int) else ~member & member
            own_patients = labels[chosen], risks[chosen], patient[chosen]
            found.append(
                Subgroup(
                    by=by,
                    group=name,
                    predictions=total,
                    positives=positives,
                    auroc=auroc(*own_patients),
                    observed_expected=observed_expected(*own_patients),
                )
            )
    return found


def _group_counts(
    groups: Mapping[str, np.ndarray], labels: np.ndarray, rule: Rule | None
) -> list[tuple[Shown, Shown]]:
    """Predictions and positives of groups that divide all patients, as they may be shown."""
    pairs = [(int(member.sum()), int(labels[member].sum())) for member in groups.values()]
    if rule is None:
        return list(pairs)
    positives = [positive for _, positive in pairs]
    negatives = [total - positive for total, positive in pairs]
    totals = [total for total, _ in pairs]
    k = len(pairs)
    counts = [sum(positives), sum(negatives), *positives, *negatives, *totals]
    sums = [Sum(0, tuple(range(2, 2 + k))), Sum(1, tuple(range(2 + k, 2 + 2 * k)))]
    sums += [Sum(2 + 2 * k + place, (2 + place, 2 + k + place)) for place in range(k)]
    shown = suppress_cells(counts, sums, rule)
    return list(zip(shown[2 + 2 * k :], shown[2 : 2 + k], strict=True))


def _training(package: ModelPackage) -> list[dict[str, object]]:
    file = package.folder / EVIDENCE
    return read_json_file(file).get("results", []) if file.exists() else []
