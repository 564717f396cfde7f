"""Explanations of the scores of a source's patients: of one patient, or of a cohort.

`explanation.json` has the layout of `explanation_schema`; `explanation.html` shows it. The files of one
patient are patient data, and only their owner can read them. Those of a cohort hold no patient.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ibis.expr.types as ir
import numpy as np
from ibis import _

from claimscale import artifacts
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.source_ids import read_source_ids, subject_of
from claimscale.events.table import date_of_day, day_number, read_events
from claimscale.inference import explanation_page
from claimscale.inference.attribution import Attribution, Input
from claimscale.inference.explained import Explained, check_explainable, explain_row
from claimscale.inference.explanation_schema import (
    FEWEST_PATIENTS,
    CohortExplanation,
    CohortInput,
    Contribution,
    MemberExplanation,
    PatientExplanation,
    Visit,
)
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import PatientShard, dates_on, eligible_dates, lookup_of, shards
from claimscale.inference.reference import measures_of
from claimscale.inference.source_file import SourceFile, prepared
from claimscale.progress import Display

JSON, PAGE = "explanation.json", "explanation.html"
MOST_PATIENTS = 1000
"""Patients of a cohort that are explained, unless another number is given."""


@dataclass(frozen=True)
class Assessment:
    """When patients are assessed, and whom the explanation is about.

    `patient` is the id of the source where its ids are text, otherwise a subject id; None explains a random
    sample of at most `most_patients` eligible patients.
    """

    on: dt.date
    patient: str | None = None
    most_patients: int = MOST_PATIENTS

    @property
    def index_day(self) -> int:
        """The last day whose records are used, days since 1970-01-01."""
        return day_number(self.on) - 1


def write_explanation(
    package: ModelPackage, source: SourceFile, assessment: Assessment, out: Path, display: Display
) -> PatientExplanation | CohortExplanation:
    """Write the folder `out`, and return what it says.

    Raises BadInput if `out` exists, the package has no question, the patient is unknown or has too few known
    events, or a cohort has fewer than 10 eligible patients.
    """
    artifacts.refuse_existing(out)
    check_explainable(package)
    display.update(0.0, 60, "preparing claims")
    with prepared(package, source, assessment.on) as (events, engine):
        chosen = _chosen(package, events, engine, assessment)
        found = _explained(package, events, engine, assessment, chosen, display)
        if assessment.patient is None:
            content = _cohort(package, assessment, [explained for _shard, _row, explained in found])
        else:
            shard, row, explained = next(found)
            content = _patient(package, assessment, shard, row, explained, *chosen.values())
    _write(content, out)
    return content


def _chosen(
    package: ModelPackage, events: Path, engine: Engine, assessment: Assessment
) -> dict[int, str | None]:
    """The patients to explain, and why the question is not about them; of a cohort only eligible ones."""
    table = read_events(engine, events)
    dates = dates_on(table, [assessment.index_day])
    if assessment.patient is not None:
        subject = _known_subject(events, table, engine, assessment.patient)
        dates = dates.filter(_.subject_id == subject)
    found = eligible_dates(events, engine, package.config, dates)
    excluded = dict(zip(found["subject_id"].to_pylist(), found["excluded"].to_pylist(), strict=True))
    if assessment.patient is not None:
        if not excluded:
            raise BadInput(
                f"--patient: fewer than {package.config.min_events} events of this patient are known on "
                f"{assessment.on}"
            )
        return excluded
    eligible = sorted(subject for subject, reason in excluded.items() if reason is None)
    if len(eligible) < FEWEST_PATIENTS:
        raise BadInput(
            f"explain: {len(eligible)} patients are eligible on {assessment.on}; a cohort needs "
            f"{FEWEST_PATIENTS}, and --patient explains one"
        )
    most = min(assessment.most_patients, len(eligible))
    sampled = np.random.default_rng(0).choice(len(eligible), most, replace=False)
    return {eligible[place]: None for place in sorted(sampled.tolist())}


def _known_subject(events: Path, table: ir.Table, engine: Engine, patient: str) -> int:
    """The subject id. Raises BadInput, which does not repeat the id, unless the source has the patient."""
    subject = subject_of(events, patient)
    if subject is not None:
        found = table.filter(_.subject_id == subject)
        if engine.to_arrow(found.aggregate(n=found.count()))["n"][0].as_py():
            return subject
    column = "subject_id" if read_source_ids(events) is None else "source_id"
    raise BadInput(f"--patient: the source has no such patient; {column} of `predict` names them")


def _explained(
    package: ModelPackage,
    events: Path,
    engine: Engine,
    assessment: Assessment,
    chosen: dict[int, str | None],
    display: Display,
) -> Iterator[tuple[PatientShard, int, Explained]]:
    """The chosen patients, each with its shard and row."""
    subjects, done = np.array(sorted(chosen)), 0
    lookup = lookup_of(events, engine, package.config, package.vocabulary)
    for shard in shards(events, package.vocabulary, lookup):
        for row in np.flatnonzero(np.isin(shard.store.subjects, subjects)).tolist():
            yield shard, row, explain_row(package, shard.store, row, assessment.index_day)
            done += 1
            display.update(done / len(subjects), None, f"{done:,} of {len(subjects):,} patients explained")


def _patient(
    package: ModelPackage,
    assessment: Assessment,
    shard: PatientShard,
    row: int,
    explained: Explained,
    excluded: str | None,
) -> PatientExplanation:
    found, config = explained.attribution, package.config
    assert config.task is not None
    measures = measures_of(shard, np.array([row]), np.array([assessment.index_day]))
    outside = package.reference.outside(measures)[0]
    assert assessment.patient is not None
    return PatientExplanation(
        package=config.name,
        package_digest=package.digest,
        task=config.task.name,
        patient=assessment.patient,
        subject_id=int(shard.store.subjects[row]),
        on=assessment.on,
        excluded=excluded,
        outside=outside.split() if outside else [],
        risk=explained.risk,
        calibrated_risk=float(package.calibration.calibrated(np.array([explained.risk]))[0]),
        log_odds=found.log_odds,
        baseline_log_odds=found.baseline,
        completeness_error=found.completeness_error,
        contributions=_contributions(found),
        visits=_visits(found),
        removals=list(explained.removals),
        removal_correlation=explained.removal_correlation,
        members=[
            MemberExplanation(
                kind=member.kind,
                cell=member.cell,
                log_odds=one.log_odds,
                baseline_log_odds=one.baseline,
                completeness_error=one.completeness_error,
                steps=one.steps,
            )
            for member, one in zip(config.members, explained.members, strict=True)
        ],
    )


def _contributions(found: Attribution) -> list[Contribution]:
    """All inputs, the largest absolute contributions first."""
    ordered = sorted(found.contributions.items(), key=lambda item: (-abs(item[1]), item[0].name))
    return [
        Contribution(
            kind=one.kind,
            name=one.name,
            suspected=one.suspected,
            day=None if one.day is None else date_of_day(one.day),
            count=found.counts.get(one),
            contribution=value,
            odds_ratio=float(np.exp(value)),
        )
        for one, value in ordered
    ]


def _visits(found: Attribution) -> list[Visit]:
    """The sums over the codes of each day, in order."""
    days: dict[int, list[float]] = defaultdict(list)
    for one, value in found.contributions.items():
        if one.day is not None:
            days[one.day].append(value)
    return [
        Visit(day=date_of_day(day), codes=len(days[day]), contribution=sum(days[day])) for day in sorted(days)
    ]


def _cohort(
    package: ModelPackage, assessment: Assessment, explained: Sequence[Explained]
) -> CohortExplanation:
    assert package.config.task is not None
    by_input: dict[Input, list[float]] = defaultdict(list)
    for one in explained:
        for name, value in _without_days(one.attribution).items():
            by_input[name].append(value)
    shown = {name: values for name, values in by_input.items() if len(values) >= FEWEST_PATIENTS}
    inputs = [_cohort_input(name, np.array(values), len(explained)) for name, values in shown.items()]
    correlations = [c for one in explained if (c := one.removal_correlation) is not None]
    removals = [removal for one in explained for removal in one.removals]
    return CohortExplanation(
        package=package.config.name,
        package_digest=package.digest,
        task=package.config.task.name,
        on=assessment.on,
        models=[member.kind for member in package.config.members],
        patients=len(explained),
        mean_risk=float(np.mean([one.risk for one in explained])),
        complete_share=float(np.mean([one.attribution.is_complete for one in explained])),
        median_removal_correlation=float(np.median(correlations)) if correlations else None,
        same_sign_share=float(np.mean([one.contribution * one.change > 0 for one in removals]))
        if removals
        else None,
        inputs=sorted(inputs, key=lambda one: (-one.mean_absolute, one.name)),
        hidden_inputs=len(by_input) - len(shown),
    )


def _without_days(found: Attribution) -> dict[Input, float]:
    """The contributions of one patient by input, all occurrences of a code together."""
    summed: dict[Input, float] = defaultdict(float)
    for one, value in found.contributions.items():
        summed[one._replace(day=None)] += value
    return summed


def _cohort_input(name: Input, values: np.ndarray, patients: int) -> CohortInput:
    others = patients - len(values)
    is_shown = others == 0 or others >= FEWEST_PATIENTS  # the means give the number away
    return CohortInput(
        kind=name.kind,
        name=name.name,
        suspected=name.suspected,
        patients=len(values) if is_shown else None,
        mean_absolute=float(np.abs(values).sum() / patients),
        mean_absolute_with=float(np.abs(values).mean()) if is_shown else None,
        mean_with=float(values.mean()) if is_shown else None,
    )


def _write(content: PatientExplanation | CohortExplanation, out: Path) -> None:
    """Write both files; those of one patient are for their owner only."""
    artifacts.make_folder(out.absolute().parent)
    is_private = isinstance(content, PatientExplanation)
    page = explanation_page.patient_html(content) if is_private else explanation_page.cohort_html(content)
    with artifacts.atomic_folder(out) as partial:
        if is_private:
            partial.chmod(0o700)
        for name, text in ((JSON, content.model_dump_json(indent=1) + "\n"), (PAGE, page)):
            artifacts.write_text(partial / name, text)
            if is_private:
                (partial / name).chmod(0o600)
