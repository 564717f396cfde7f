"""The catalogue of texts: whatever the report says is looked up here in the language of the report.

English is the language of the code, so an English text is its own key (as with gettext); `texts.ja.yaml` holds
the Japanese ones. A key may hold places for values, `{n}`. Sentences of the summary, which are made before
the report, are recognised by the same keys.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Mapping

import yaml


class Texts:
    """Texts in one language: `texts("{n} patients", n="1,204")`; an unknown text stays English."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.table: Mapping[str, str] = {} if language == "en" else _catalogue(language)

    def __call__(self, text: str, **values: object) -> str:
        found = self.table.get(text, text)
        for name, value in values.items():
            found = found.replace(f"{{{name}}}", str(value))
        return found

    def sentence(self, whole: str) -> str:
        """A sentence of the summary in this language, its parts translated in turn where they are texts."""
        if not self.table or not whole:
            return whole
        if whole in self.table:
            return self.table[whole]
        for pattern, names, told in _patterns(self.language):
            if match := pattern.fullmatch(whole):
                found = told
                for name, part in zip(names, match.groups(), strict=True):
                    found = found.replace(f"{{{name}}}", self.sentence(part))
                return found
        return whole


@functools.cache
def _catalogue(language: str) -> dict[str, str]:
    file = importlib.resources.files("claimscale.report") / f"texts.{language}.yaml"
    return yaml.safe_load(file.read_text("utf-8"))


@functools.cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], list[str], str]]:
    """Texts with places as patterns, those with most fixed words first."""
    found = []
    for text, told in _catalogue(language).items():
        names = re.findall(r"\{(\w+)\}", text)
        if names:
            parts = [re.escape(part) for part in re.split(r"\{\w+\}", text)]
            fixed = sum(len(part) for part in parts)
            found.append((fixed, re.compile("(.+?)".join(parts)), names, told))
    found.sort(key=lambda one: -one[0])
    return [(pattern, names, told) for _, pattern, names, told in found]
