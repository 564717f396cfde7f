"""The lines that `claimscale explain` prints; none names a patient."""

from __future__ import annotations

from claimscale import formatting
from claimscale.inference.explanation_schema import CohortExplanation, InputKind, PatientExplanation

SHOWN = 5
"""Inputs that are printed."""
KIND_NAMES: dict[InputKind, str] = {
    "code": "recorded",
    "absent_code": "not recorded",
    "code_group": "group of codes",
    "age": "age",
    "sex": "sex",
    "recency": "time since the newest code",
    "history": "length of the record",
    "services": "use of services",
}


def input_name(kind: InputKind, name: str, suspected: bool) -> str:
    """An input as readers see it.

    >>> input_name("code", "ICD10//I10", True), input_name("recency", "recency", False)
    ('ICD10 I10 (suspected)', 'time since the newest code')
    """
    if kind not in ("code", "absent_code", "code_group"):
        return KIND_NAMES[kind]
    text = name.replace("//", " ") + (" (suspected)" if suspected else "")
    return text if kind == "code" else f"{text}, {KIND_NAMES[kind]}"


def odds_ratio(value: float) -> str:
    """An odds ratio, three significant digits.

    >>> odds_ratio(1.2345), odds_ratio(0.061)
    ('× 1.23', '× 0.061')
    """
    return f"× {value:.3g}"


def correlation_text(correlation: float | None) -> str:
    return "not available" if correlation is None else formatting.figure(correlation, 2)


def patient_text(found: PatientExplanation) -> list[str]:
    lines = [
        f"Risk of {found.task} on {found.on}: {formatting.percent(found.risk)} "
        f"(calibrated {formatting.percent(found.calibrated_risk)})",
        f"Log odds {formatting.figure(found.log_odds)}: baseline "
        f"{formatting.figure(found.baseline_log_odds)} and {len(found.contributions)} contributions; "
        f"completeness error {formatting.figure(found.completeness_error, 5)}",
    ]
    if found.excluded:
        lines.append(f"Excluded: {found.excluded} (the question is not about this patient)")
    if found.outside:
        lines.append(f"Outside: {', '.join(found.outside)} beyond 99 % of the training patients")
    for one in found.contributions[:SHOWN]:
        day = f" ({one.day})" if one.day else ""
        lines.append(
            f"  {odds_ratio(one.odds_ratio):<10} {input_name(one.kind, one.name, one.suspected)}{day}"
        )
    lines.append(
        f"Correlation with the effect of removing codes: {correlation_text(found.removal_correlation)}"
    )
    return lines


def cohort_text(found: CohortExplanation) -> list[str]:
    lines = [
        f"{found.patients:,} patients on {found.on}: mean risk of {found.task} "
        f"{formatting.percent(found.mean_risk)}",
        f"Completeness error below 1 % in {formatting.percent(found.complete_share)} of patients",
    ]
    for one in found.inputs[:SHOWN]:
        lines.append(f"  {one.mean_absolute:<10.4f} {input_name(one.kind, one.name, one.suspected)}")
    if found.hidden_inputs:
        lines.append(f"{found.hidden_inputs:,} inputs of fewer than 10 patients are left out")
    lines.append(
        "Correlation with the effect of removing codes (median): "
        + correlation_text(found.median_removal_correlation)
    )
    return lines


def explanation_text(found: PatientExplanation | CohortExplanation) -> list[str]:
    """What the command says: one line per finding."""
    return patient_text(found) if isinstance(found, PatientExplanation) else cohort_text(found)
