"""Groups of codes: chapters and categories of diagnoses, classes of drugs."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from claimscale.codes.systems import SEPARATOR, roll_up, split
from claimscale.tokens.vocabulary import Vocabulary

CHAPTER = "chapter"
Level = int | Literal["chapter"]
LEVELS: dict[str, tuple[Level, ...]] = {
    "ICD10": (3, CHAPTER),
    "ICD9CM": (3, CHAPTER),
    "ATC": (5, 4, 3),
    "YJ": (7, 4, 3),
}
"""Groups of each system, from fine to coarse: characters for diagnoses and YJ, levels for ATC."""

ICD10_CHAPTERS = (
    "A00", "C00", "D50", "E00", "F00", "G00", "H00", "H60", "I00", "J00", "K00", "L00", "M00", "N00", "O00",
    "P00", "Q00", "R00", "S00", "U00", "V00", "Z00",
)  # fmt: skip
"""The first code of each chapter of ICD-10 (WHO 2019)."""

ICD9_CHAPTERS = (
    "001", "140", "240", "280", "290", "320", "390", "460", "520", "580", "630", "680", "710", "740", "760",
    "780", "800", "E", "V",
)  # fmt: skip
"""The first code of each chapter of ICD-9-CM (2009), with the supplementary E and V codes."""


def chapter(code: str) -> str:
    """The chapter of a diagnosis: its first code with a tilde, which no code has.

    A code before the first chapter is returned unchanged.

    >>> chapter("ICD10//N189"), chapter("ICD10//D649"), chapter("ICD9CM//25000"), chapter("ICD9CM//V4511")
    ('ICD10//N00~', 'ICD10//D50~', 'ICD9CM//240~', 'ICD9CM//V~')
    """
    system, value = split(code)
    starts = ICD10_CHAPTERS if system == "ICD10" else ICD9_CHAPTERS
    place = bisect.bisect_right(starts, value[:3])
    return f"{system}{SEPARATOR}{starts[place - 1]}~" if place else code


def group_of(code: str, level: Level) -> str:
    """The group of a code at one level of its system.

    >>> group_of("ATC//N02BF02", 4), group_of("ICD10//N189", 3), group_of("ICD10//N189", "chapter")
    ('ATC//N02BF', 'ICD10//N18', 'ICD10//N00~')
    """
    return chapter(code) if level == CHAPTER else roll_up(code, {split(code)[0]: level})


@dataclass(frozen=True)
class CodeGroups:
    """The columns of each token in a count matrix: the token itself, then its groups.

    A group with the same tokens as a finer group has no column. Suspected diagnoses have groups of their own.

    Attributes:
        columns: int32 [tokens, 1 + levels], the columns of each token, -1 for none.
        names: the code or group of each column.
    """

    columns: npt.NDArray[np.int32]
    names: list[str]

    @property
    def count(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> CodeGroups:
        depth = max(len(levels) for levels in LEVELS.values())
        columns = np.full((vocabulary.size, 1 + depth), -1, dtype=np.int32)
        columns[:, 0] = np.arange(vocabulary.size)
        names = list(vocabulary.codes)
        known: set[tuple[int, ...]] = {(token,) for token in range(vocabulary.size)}
        for place in range(depth):
            members: dict[tuple[str, int], list[int]] = {}
            for token, (code, kind) in enumerate(zip(vocabulary.codes, vocabulary.types, strict=True)):
                levels = LEVELS.get(split(code)[0], ())
                if place < len(levels):
                    members.setdefault((group_of(code, levels[place]), int(kind)), []).append(token)
            for (name, _), tokens in members.items():
                if tuple(tokens) not in known:
                    known.add(tuple(tokens))
                    columns[tokens, 1 + place] = len(names)
                    names.append(name)
        return cls(columns, names)
