"""What a validation says in sentences, and the comparison of two."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import ValidationError

from claimscale.errors import BadInput
from claimscale.inference.validation_schema import Estimate, Performance, Validation
from claimscale.packages.files import read_json_file

FILE, PAGE = "validation.json", "validation.html"
VERSIONS = {
    "as_is": "As the model gives them",
    "calibrated": "Calibrated by the package",
    "recalibrated": "Recalibrated here",
}
METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "observed_expected": "Observed per expected",
    "slope": "Calibration slope",
}
NORMAL_95 = 1.959964
UNREAD_SHARE = 0.2
PSI_LARGE = 0.25
"""A stability index above which a distribution is usually called shifted."""


def read_validation(place: Path) -> Validation:
    """Read `validation.json`, or that of a folder. Raises BadInput if it is none."""
    file = place / FILE if place.is_dir() else place
    read_json_file(file)
    try:
        return Validation.model_validate_json(file.read_bytes())
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise BadInput(f"{file}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def is_validation(place: Path) -> bool:
    """Whether a path is a validation's folder or file."""
    return place.name == FILE or (place / FILE).is_file()


def conclusions(validation: Validation) -> list[str]:
    """What the validation shows, in sentences."""
    late = _incomplete(validation)
    if not validation.performance:
        return [*late, "Too few patients have the outcome here: nothing can be said about performance."]
    said = [*late, *_discrimination(validation), *([] if late else _calibration(validation))]
    codes, drift = validation.codes, validation.drift
    if 1 - codes.read_share > UNREAD_SHARE:
        said.append(
            f"The package cannot read {1 - codes.read_share:.0%} of the events here: its risks rest on the "
            "others. A crosswalk of the code systems may help."
        )
    if drift.risk_psi is not None and drift.risk_psi > PSI_LARGE:
        said.append(
            f"The risks are distributed otherwise than in the study (stability index {drift.risk_psi:.2f})."
        )
    return said


def _incomplete(validation: Validation) -> list[str]:
    """Why calibration cannot be judged, if it cannot."""
    late = ", ".join(map(str, validation.incomplete))
    if not late:
        return []
    return [
        f"Calibration cannot be judged: the claims end on {validation.claims_until}, before the outcomes of "
        f"the assessments on {late} have had their time. Later outcomes are missing from all figures here. "
        "Assess patients on an earlier date."
    ]


def _discrimination(validation: Validation) -> list[str]:
    here = validation.performance[0].auroc
    if here.estimate is None or here.low is None:
        return []
    text = f"Discrimination: AUROC {with_interval(here)}."
    study = next((one for one in validation.training if one.get("split") == "held_out"), None)
    before = study.get("auroc") if study else None
    if isinstance(before, dict) and before.get("low") is not None:
        difference, low, high = _difference(here, Estimate.model_validate(before))
        text += f" In its study it was {before['estimate']:.3f}: {_direction(difference, low, high)}."
    if here.low <= 0.5:
        text += " It is not shown to be better than chance here."
    return [text]


def _calibration(validation: Validation) -> list[str]:
    found = {one.version: one for one in validation.performance}
    ratio = found["as_is"].observed_expected
    if ratio.estimate is None or ratio.low is None or ratio.high is None:
        return []
    said = [f"Calibration: {with_interval(ratio, 2)} patients have the outcome per patient expected."]
    if ratio.low > 1:
        said[0] += " The risks are too low here."
    elif ratio.high < 1:
        said[0] += " The risks are too high here."
    if "recalibrated" in found and validation.recalibration is not None:
        intercept, slope = validation.recalibration
        again = found["recalibrated"].observed_expected
        said.append(
            f"Recalibrated (log odds times {slope:.2f}, plus {intercept:.2f}), it is "
            f"{with_interval(again, 2)}."
        )
    return said


def comparison(names: tuple[str, str], one: Validation, other: Validation) -> str:
    """Two validations side by side, as lines of text.

    Raises BadInput if they are of different packages or questions. The patients differ, so that the standard
    errors add up.
    """
    if (one.digest, one.task) != (other.digest, other.task):
        raise BadInput(f"{names[1]}: is of another package or question than {names[0]}")
    if not (one.performance and other.performance):
        raise BadInput("compare: one of the validations has too few patients with the outcome")
    lines = [f"{one.package}: {names[0]} and {names[1]}"]
    for version in ("as_is", "recalibrated"):
        pair = [_of_version(each, version) for each in (one, other)]
        if pair[0] is None or pair[1] is None:
            continue
        lines.append(f"\n{VERSIONS[version]}")
        for name, title in METRICS.items():
            first, second = getattr(pair[0], name), getattr(pair[1], name)
            columns = f"{with_interval(first):<26} {with_interval(second):<26}"
            lines.append(f"  {title:<22} {columns} {_said(second, first)}")
    return "\n".join(lines)


def _of_version(validation: Validation, version: str) -> Performance | None:
    return next((one for one in validation.performance if one.version == version), None)


def _said(here: Estimate, before: Estimate) -> str:
    if None in (here.low, here.high, before.low, before.high):
        return ""
    return _direction(*_difference(here, before))


def _difference(here: Estimate, before: Estimate) -> tuple[float, float, float]:
    """The difference of estimates on different patients, with its 95 % interval."""
    errors = [_standard_error(one) for one in (here, before)]
    assert here.estimate is not None and before.estimate is not None
    difference, spread = here.estimate - before.estimate, NORMAL_95 * math.hypot(*errors)
    return difference, difference - spread, difference + spread


def _standard_error(one: Estimate) -> float:
    assert one.low is not None and one.high is not None
    return (one.high - one.low) / (2 * NORMAL_95)


def _direction(difference: float, low: float, high: float) -> str:
    said = "higher" if low > 0 else "lower" if high < 0 else "not shown to differ"
    return f"{said} (difference {difference:+.3f}, {low:+.3f} to {high:+.3f})"


def with_interval(one: Estimate, digits: int = 3) -> str:
    """An estimate with its interval, as text."""
    if one.estimate is None:
        return "–"
    if one.low is None or one.high is None:
        return f"{one.estimate:.{digits}f}"
    return f"{one.estimate:.{digits}f} ({one.low:.{digits}f} to {one.high:.{digits}f})"
