"""A package over time: are the patients still those of its training, and do outcomes happen as predicted?

Patients are assessed on the first day of each month. Where the time of the outcome has passed, the risks are
compared with what happened.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from claimscale.constants import DAYS_PER_YEAR
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.table import date_of_day, day_number
from claimscale.inference.claims_end import claims_until, outcome_end
from claimscale.inference.drift import Counted, code_psi, most_drifted, outside_shares, risk_psi
from claimscale.inference.monitoring_schema import CodeChange, MonitoredDate, Monitoring
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import lookup_of, shards
from claimscale.inference.performance import auroc, observed_expected
from claimscale.inference.scored_dates import ScoredDates
from claimscale.inference.source_file import SourceFile, parts_of, prepared
from claimscale.inference.validate import rules_of, with_outcomes
from claimscale.inference.validation_schema import Estimate, Profile, Shown
from claimscale.privacy.suppression import PROFILES, Rule, Sum, suppress_cells
from claimscale.progress import Display
from claimscale.tokens.special_tokens import FIRST_CODE

YEAR_DAYS = int(DAYS_PER_YEAR)
HIDDEN = Estimate(estimate=None)


def monitor(
    package: ModelPackage, source: SourceFile, since: dt.date, profile: Profile, display: Display
) -> Monitoring:
    """Assess the patients of a source on the first day of each month from `since` to its last claims.

    Raises BadInput for a package without rules, without a month to assess, and if nobody is eligible.
    """
    task, rule = rules_of(package), PROFILES[profile]
    display.update(0.0, 60, "preparing claims")
    with prepared(package, source, since) as (events, engine):
        until = claims_until(events, engine)
        dates = months(since, until)
        if not dates:
            raise BadInput(f"--since {since}: no month begins between it and the last claims ({until})")
        _all, eligible = with_outcomes(package, events, engine, dates)
        scored = _scored(package, events, engine, eligible, display)
    display.update(0.9, 5, "comparing with outcomes")
    last_day = day_number(until)
    complete = {day for day in scored if outcome_end(task, day) <= last_day}
    first = scored[min(scored)]
    ratio, area = _pooled(package, [scored[day] for day in sorted(complete)], rule)
    return Monitoring(
        package=package.config.name,
        digest=package.digest,
        source=source.source.kind,
        simulated=source.source.kind == "simulated",
        task=task.name,
        privacy=profile,
        claims_until=until,
        first_complete=date_of_day(outcome_end(task, min(scored))),
        dates=[_monitored(package, scored[day], day, first, day in complete, rule) for day in sorted(scored)],
        observed_expected=ratio,
        auroc=area,
        codes=_changes(package, first, scored[max(scored)], rule),
    )


def months(since: dt.date, until: dt.date) -> list[dt.date]:
    """The first days of the months from `since` to the day after `until`.

    >>> [str(day) for day in months(dt.date(2020, 11, 15), dt.date(2021, 1, 31))]
    ['2020-12-01', '2021-01-01', '2021-02-01']
    """
    numbers = range(since.year * 12 + since.month - 1, until.year * 12 + until.month + 1)
    firsts = (dt.date(number // 12, number % 12 + 1, 1) for number in numbers)
    return [day for day in firsts if since <= day <= until + dt.timedelta(days=1)]


def _scored(
    package: ModelPackage, events: Path, engine: Engine, eligible: pa.Table, display: Display
) -> dict[int, ScoredDates]:
    """The eligible patients by index day, with the codes of the year before."""
    lookup = lookup_of(events, engine, package.config, package.vocabulary)
    found: dict[int, ScoredDates] = {}
    done = 0
    for shard in shards(events, package.vocabulary, lookup):
        for part in parts_of(eligible, shard):
            for day in sorted(set(part["index_day"].to_pylist())):
                own = part.filter(pa.array(part["index_day"].to_numpy() == day))
                found.setdefault(day, ScoredDates(YEAR_DAYS)).add(package, shard, own)
                done += len(own)
                display.update(0.1 + 0.8 * done / len(eligible), None, f"scoring {date_of_day(day + 1)}")
    return found


def _monitored(
    package: ModelPackage,
    scored: ScoredDates,
    day: int,
    first: ScoredDates,
    is_complete: bool,
    rule: Rule | None,
) -> MonitoredDate:
    """One date. Where the number of patients or of outcomes is hidden, so is what would disclose it."""
    total, positives = _counts(scored, rule)
    is_shown = isinstance(total, int)
    risks, calibrated = scored.risks, package.calibration.calibrated(scored.risks)
    may_compare = is_complete and is_shown and isinstance(positives, int)
    labels, patient = scored.labels, scored.patient
    index = code_psi(_counted(first), _counted(scored))[FIRST_CODE:]
    return MonitoredDate(
        date=date_of_day(day + 1),
        predictions=total,
        mean_risk=float(calibrated.mean()) if is_shown else None,
        risk_psi=risk_psi(package.reference.risk_deciles, risks) if is_shown else None,
        code_psi=float(index.mean()) if is_shown else None,
        unread_share=float(scored.recent_unread.mean()) if is_shown else None,
        outside=outside_shares(package, scored, rule) if is_shown else {},
        is_complete=is_complete,
        positives=positives if is_complete else None,
        observed_expected=observed_expected(labels, calibrated, patient) if may_compare else HIDDEN,
        auroc=auroc(labels, risks, patient) if may_compare else HIDDEN,
    )


def _counts(scored: ScoredDates, rule: Rule | None) -> tuple[Shown, Shown]:
    """Predictions and positives as they may be shown."""
    positives, total = int(scored.labels.sum()), len(scored.labels)
    if rule is None:
        return total, positives
    shown = suppress_cells([total, positives, total - positives], [Sum(0, (1, 2))], rule)
    return shown[0], shown[1]


def _counted(scored: ScoredDates) -> Counted:
    assert scored.patients_with_code is not None
    return scored.patients_with_code, int(scored.patient.max()) + 1


def _pooled(
    package: ModelPackage, complete: Sequence[ScoredDates], rule: Rule | None
) -> tuple[Estimate, Estimate]:
    """Observed per expected and AUROC over all complete dates; nothing with too few of either outcome."""
    if not complete:
        return HIDDEN, HIDDEN
    labels, risks = (np.concatenate([getattr(one, name) for one in complete]) for name in ("labels", "risks"))
    subjects = np.concatenate([one.subjects for one in complete])
    least = max(2, rule.least if rule else 0)
    if min(labels.sum(), len(labels) - labels.sum()) < least:
        return HIDDEN, HIDDEN
    calibrated = package.calibration.calibrated(risks)
    return observed_expected(labels, calibrated, subjects), auroc(labels, risks, subjects)


def _changes(
    package: ModelPackage, first: ScoredDates, last: ScoredDates, rule: Rule | None
) -> list[CodeChange]:
    before, after = _counted(first), _counted(last)
    index = code_psi(before, after)
    return [
        CodeChange(
            code=package.vocabulary.codes[token],
            first=float(before[0][token] / before[1]),
            last=float(after[0][token] / after[1]),
        )
        for token in most_drifted(index, [before, after], rule)
        if index[token] > 0
    ]
