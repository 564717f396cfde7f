"""The page's labels in the language of the report.

English is the language of the code, so an English label is its own key (as with gettext); `texts.ja.yaml`
holds the Japanese ones. Statements about results are findings, with a catalogue of their own.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterable, Mapping

import yaml

from claimscale.findings import Finding


class Texts:
    """Labels in one language: `texts("{n} labelled patients", n="1,204")`; an unknown label stays English."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.table: Mapping[str, str] = {} if language == "en" else _catalogue(language)

    def __call__(self, text: str, **values: object) -> str:
        found = self.table.get(text, text)
        return found.format(**values) if values else found

    def say(self, finding: Finding | Mapping[str, object]) -> str:
        """A finding, as such or as JSON holds it, in this language."""
        return Finding.model_validate(finding).render(self.language)

    def several(self, values: Iterable[object]) -> str:
        """Values as a list in a sentence."""
        return self(", ").join(map(str, values)) or "–"


@functools.cache
def _catalogue(language: str) -> dict[str, str]:
    file = importlib.resources.files("claimscale.report") / f"texts.{language}.yaml"
    return yaml.safe_load(file.read_text("utf-8"))
