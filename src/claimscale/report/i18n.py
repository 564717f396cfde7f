"""The catalogue of texts: whatever the report says is looked up here in the language of the report.

English is the language of the code, so an English text is its own key (as with gettext); `texts.ja.yaml`
holds the Japanese ones. A key may hold places for values, `{n}`. Sentences of the summary, which are made
before the report, are recognised by the same keys.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Mapping

import yaml

FEWEST_FIXED = 6
"""Letters that a text needs beside its places, to be recognised within a sentence."""


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
        """A sentence of the summary in this language, its parts translated in turn where they are texts.

        Several findings may stand in one sentence, parted by semicolons.
        """
        if not self.table or not whole:
            return whole
        if (found := self._known(whole)) is not None:
            return found
        parts = [self._known(part) for part in whole.removesuffix(".").split("; ")]
        known = [part for part in parts if part is not None]
        end = self(". ").strip() if whole.endswith(".") else ""
        return self("; ").join(known) + end if len(known) == len(parts) else whole

    def _known(self, text: str) -> str | None:
        """The text in this language; null where the catalogue does not have it."""
        if text in self.table:
            return self.table[text]
        for pattern, names, told, ends in _patterns(self.language):
            # The place at the end of a part would swallow the rest of a sentence.
            if (ends or not text.endswith(".")) and (match := pattern.fullmatch(text)):
                for name, part in zip(names, match.groups(), strict=True):
                    told = told.replace(f"{{{name}}}", self.sentence(part))
                return told
        return None


@functools.cache
def _catalogue(language: str) -> dict[str, str]:
    file = importlib.resources.files("claimscale.report") / f"texts.{language}.yaml"
    return yaml.safe_load(file.read_text("utf-8"))


@functools.cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], list[str], str, bool]]:
    """Texts with places as patterns, whole sentences first; the last says whether a text is one."""
    found = []
    for text, told in _catalogue(language).items():
        *parts, last = re.split(r"\{(\w+)\}", text)
        words, names = parts[::2], parts[1::2]
        fixed = sum(len(word) for word in (*words, last))
        if names and fixed >= FEWEST_FIXED:
            places = ["(AUPRC|AUROC)" if name == "metric" else "(.+?)" for name in names]
            pattern = "".join(re.escape(word) + place for word, place in zip(words, places, strict=True))
            found.append((fixed, re.compile(pattern + re.escape(last)), names, told, text.endswith(".")))
    # Whole sentences before parts of them; then those with most fixed words first.
    found.sort(key=lambda one: (not one[4], -one[0]))
    return [(pattern, names, told, ends) for _, pattern, names, told, ends in found]
