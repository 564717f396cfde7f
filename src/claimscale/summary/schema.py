"""The summary of a study: all numbers, and what they mean in words.

The words are a function of the numbers, so that the privacy step changes both at once.
`python -m claimscale.summary.schema` prints the JSON Schema of summary.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError, computed_field, model_validator

from claimscale.errors import BadInput
from claimscale.findings import Finding
from claimscale.summary.decision_schema import AnswerEntry
from claimscale.summary.family_schema import FamilyAnswerEntry
from claimscale.summary.family_text import family_answer
from claimscale.summary.limitations import limitations
from claimscale.summary.statistics_schema import Statistics
from claimscale.summary.verdict_text import answer


class Summary(Statistics):
    """The summary of a study. It is built once, and changed by the privacy step only."""

    @computed_field
    @property
    def answers(self) -> tuple[AnswerEntry, ...]:
        """The answer to each task, in the order of `tasks`."""
        return tuple(answer(task) for task in self.tasks)

    @computed_field
    @property
    def family_answers(self) -> tuple[FamilyAnswerEntry, ...]:
        """The answer for each family: of the phenome, then of the tasks."""
        families = (*(self.phenome.families if self.phenome else ()), *self.task_families)
        hours = {size.name: size.hours for size in self.sizes}
        return tuple(family_answer(family, self.convergence, hours) for family in families)

    @computed_field
    @property
    def limitations(self) -> tuple[Finding, ...]:
        """Limitations of the results."""
        return limitations(self, self.answers)

    @model_validator(mode="before")
    @classmethod
    def _without_words(cls, content: object) -> object:
        """The words are made from the numbers, not read."""
        if not isinstance(content, Mapping):
            return content
        entries = cast("Mapping[str, object]", content)
        return {name: value for name, value in entries.items() if name not in cls.model_computed_fields}


def read_summary(file: Path) -> Summary:
    """Read a summary.json. Raises BadInput if it is not a summary of this version."""
    try:
        return Summary.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput(f"{file}: is not the summary of a run ({place}: {first['msg']})") from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of summary.json."""
    return Summary.model_json_schema(mode="serialization")


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
