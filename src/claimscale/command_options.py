"""What several commands have in common: options, dates, and pages that appear complete or not at all."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from claimscale.errors import BadInput

if TYPE_CHECKING:
    from pydantic import BaseModel

Package = Annotated[Path, Parameter(help="A folder written by `claimscale package`.")]
Source = Annotated[
    Path,
    Parameter(help="A YAML file with a source section (a study file is one), or a MEDS dataset's folder."),
]
On = Annotated[
    tuple[str, ...],
    Parameter(name="--on", negative=(), help="Assess every patient on this date; may be repeated."),
]
Visits = Annotated[
    bool, Parameter(help="Assess patients on every day on which something became known of them.")
]
Privacy = Annotated[
    Literal["none", "ndb", "cms", "opensafely", "acro"], Parameter(help="Rule for small counts.")
]
DatesFile = Annotated[Path | None, Parameter(help="Parquet file with subject_id and prediction_time.")]


def date_of(text: str, option: str = "--on") -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{option} {text}: is not a date such as 2024-04-01") from None


def json_text(found: BaseModel) -> str:
    return found.model_dump_json(indent=1) + "\n"


def write_pages(out: Path, files: dict[str, str]) -> None:
    from claimscale import artifacts

    with artifacts.atomic_folder(out) as target:
        for name, text in files.items():
            artifacts.write_text(target / name, text)
