"""Validation of a package on another database: its own question, its own rules, new patients.

The patients' labels are made here by the package's task; only aggregates leave the machine.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimscale.constants import SEXES
from claimscale.errors import BadInput
from claimscale.evaluation.model_diagnostics import AGE_BANDS
from claimscale.events.table import read_events
from claimscale.inference.calibration import FEWEST_POSITIVES, log_odds_of, recalibrate
from claimscale.inference.package import EVIDENCE, ModelPackage
from claimscale.inference.package_files import read_json_file
from claimscale.inference.patients import CodeCounts, PatientShard, code_counts, eligible_dates, shards
from claimscale.inference.performance import cross_fitted, discrimination, performance
from claimscale.inference.reference import MEASURES, measures_of
from claimscale.inference.source_file import Dates, SourceFile, parts_of, prepared
from claimscale.inference.validation_schema import (
    Codes,
    CodeShare,
    Drift,
    Flow,
    Performance,
    Profile,
    Shown,
    Subgroup,
    Validation,
)
from claimscale.privacy.suppression import PROFILES, Rule, Sum, suppress_cells
from claimscale.progress import Display
from claimscale.tokens.special_tokens import FIRST_CODE, FIRST_SEX

SEX_NAMES = {"F": "Women", "M": "Men", "U": "Sex unknown"}
DRIFTED_CODES = 20
LEAST_SHARE = 1e-4
"""Shares are bounded by it in stability indices."""


@dataclass
class _Scored:
    """The eligible patients and dates of a source, n of them, and what was counted on the way."""

    subject: list[np.ndarray] = field(default_factory=list)
    risk: list[np.ndarray] = field(default_factory=list)
    label: list[np.ndarray] = field(default_factory=list)
    sex: list[np.ndarray] = field(default_factory=list)
    measures: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    patients_with_code: NDArray[np.int64] | None = None

    def joined(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts) if parts else np.zeros(0)


def validate(
    package: ModelPackage, source: SourceFile, on: Sequence[dt.date], profile: Profile, display: Display
) -> Validation:
    """Validate the package on the patients of a source, assessed on the dates `on`.

    Raises BadInput for a package without a question or without rules, and if nobody is eligible.
    """
    task = package.config.task
    if task is None or task.labels is not None:
        raise BadInput(f"{package.folder}: has no question with rules, so that no outcome can be found")
    rule = PROFILES[profile]
    display.update(0.0, 60, "preparing claims")
    with prepared(package, source, max(on)) as (events, engine):
        dates = Dates(on=tuple(on)).table(read_events(engine, events))
        found = eligible_dates(events, engine, package.config, dates)
        if not len(found):
            raise BadInput(f"no patient has {package.config.min_events} known events on {on[0]}")
        eligible = found.filter(pa.array([reason is None for reason in found["excluded"].to_pylist()]))
        if not len(eligible):
            raise BadInput(f"no patient is eligible on {on[0]}: {_reasons(found)}")
        counts = code_counts(events, engine, package.config, package.vocabulary)
        scored = _Scored()
        for shard in shards(events, engine, package.config, package.vocabulary):
            for part in parts_of(eligible, shard):
                _score(package, shard, part, scored)
                display.update(0.8, 10, "scoring")
    display.update(0.9, 5, "comparing with outcomes")
    labels, risks = scored.joined(scored.label).astype(bool), scored.joined(scored.risk)
    patient = np.unique(scored.joined(scored.subject), return_inverse=True)[1].astype(np.int64)
    entries, line = _performance(package, labels, risks, patient, rule)
    return Validation(
        package=package.config.name,
        digest=package.digest,
        source=source.source.kind,
        simulated=source.source.kind == "simulated",
        task=task.name,
        dates=list(on),
        privacy=profile,
        flow=_flow(found, eligible, rule),
        performance=entries,
        recalibration=line,
        subgroups=_subgroups(scored, labels, risks, patient, rule),
        codes=_codes(package, counts, scored),
        drift=_drift(package, scored, risks, rule),
        training=_training(package),
    )


def _score(package: ModelPackage, shard: PatientShard, part: pa.Table, scored: _Scored) -> None:
    store = shard.store
    rows = np.searchsorted(store.subjects, part["subject_id"].to_numpy())
    days = part["index_day"].to_numpy().astype(np.int64)
    scored.subject.append(part["subject_id"].to_numpy())
    scored.risk.append(package.risks(store, rows, days))
    scored.label.append(part["boolean_value"].to_numpy(zero_copy_only=False))
    scored.sex.append(store.sex[rows] - FIRST_SEX)
    for name, values in measures_of(shard, rows, days).items():
        scored.measures[name].append(values)
    # A patient counts once, at the last of several dates.
    last = np.append(np.diff(rows) != 0, True) if len(rows) else np.zeros(0, bool)
    seen = package.vocabulary.size
    count = np.zeros(seen, np.int64)
    for row, day in zip(rows[last], days[last], strict=True):
        own = slice(store.offsets[row], store.offsets[row + 1])
        count[np.unique(store.token[own][store.available[own] <= day])] += 1
    scored.patients_with_code = count + (
        0 if scored.patients_with_code is None else scored.patients_with_code
    )


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


def _subgroups(
    scored: _Scored, labels: np.ndarray, risks: np.ndarray, patient: np.ndarray, rule: Rule | None
) -> list[Subgroup]:
    sex, age = scored.joined(scored.sex), scored.joined(scored.measures["age_years"])
    members = {("sex", SEX_NAMES[name]): sex == place for place, name in enumerate(SEXES)}
    for low, high in AGE_BANDS:
        name = f"{low}+" if high == AGE_BANDS[-1][1] else f"{low}–{high - 1}"
        members["age", name] = (age >= low) & (age < high)
    found = []
    for by in ("sex", "age"):
        own = {name: member for (kind, name), member in members.items() if kind == by and member.any()}
        shown = _group_counts(own, labels, rule)
        for (name, member), (total, positives) in zip(own.items(), shown, strict=True):
            may_show = isinstance(total, int) and isinstance(positives, int)
            nothing = np.zeros(0, bool)
            chosen = member if may_show else np.zeros(len(labels), bool)
            auroc, ratio = discrimination(
                labels[chosen] if may_show else nothing, risks[chosen], patient[chosen]
            )
            found.append(
                Subgroup(
                    by=by,
                    group=name,
                    predictions=total,
                    positives=positives,
                    auroc=auroc,
                    observed_expected=ratio,
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


def _codes(package: ModelPackage, counts: CodeCounts, scored: _Scored) -> Codes:
    total = max(counts.read + counts.unread, 1)
    unread = scored.joined(scored.measures["unread_share"])
    return Codes(
        read_share=counts.read / total,
        of_ancestor_share=counts.of_ancestor / total,
        unread_codes=[code for code, _ in counts.unread_codes],
        unread_systems={system: count / total for system, count in counts.unread_systems.items()},
        mean_unread_share=float(unread.mean()),
    )


def _drift(package: ModelPackage, scored: _Scored, risks: np.ndarray, rule: Rule | None) -> Drift:
    ranges, outside = package.reference.ranges, {}
    for name, limits in ranges.items():
        values = scored.joined(scored.measures[name])
        outside[name] = float(((values < limits.low) | (values > limits.high)).mean())
    shares, code_psi = _code_shares(package, scored, rule)
    return Drift(
        outside=outside,
        risk_psi=risk_psi(package.reference.risk_deciles, risks),
        code_psi=code_psi,
        codes=shares,
    )


def risk_psi(deciles: Sequence[float], risks: np.ndarray) -> float | None:
    """Population stability index of risks over ten bins with equal shares in the study; None without them."""
    if len(deciles) != 9 or len(set(deciles)) != 9 or not len(risks):
        return None
    counts = np.bincount(np.searchsorted(deciles, risks, side="right"), minlength=10)
    here, there = np.maximum(counts / counts.sum(), LEAST_SHARE), 0.1
    return float(((here - there) * np.log(here / there)).sum())


def _code_shares(
    package: ModelPackage, scored: _Scored, rule: Rule | None
) -> tuple[list[CodeShare], float | None]:
    """The codes whose shares of patients differ most, and the mean stability index over all codes."""
    vocabulary, counts = package.vocabulary, scored.patients_with_code
    trained = int(vocabulary.patients[FIRST_SEX:FIRST_CODE].sum())
    if counts is None or not trained:
        return [], None
    people = len(np.unique(scored.joined(scored.subject)))
    there = np.clip(vocabulary.patients[FIRST_CODE:] / trained, LEAST_SHARE, 1 - LEAST_SHARE)
    here = np.clip(counts[FIRST_CODE:] / people, LEAST_SHARE, 1 - LEAST_SHARE)
    index = (here - there) * (np.log(here / there) - np.log((1 - here) / (1 - there)))
    may_show = np.ones(len(index), bool)
    if rule is not None:
        may_show = (counts[FIRST_CODE:] >= rule.least) & (people - counts[FIRST_CODE:] >= rule.least)
    order = [place for place in np.argsort(-index) if may_show[place]][:DRIFTED_CODES]
    shares = [
        CodeShare(
            code=vocabulary.codes[FIRST_CODE + place],
            training=float(there[place]),
            here=float(here[place]),
        )
        for place in order
    ]
    return shares, float(index.mean())


def _training(package: ModelPackage) -> list[dict[str, object]]:
    file = Path(package.folder) / EVIDENCE
    return read_json_file(file).get("results", []) if file.exists() else []
