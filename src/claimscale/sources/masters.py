"""The national master files, as their publisher gives them: what receipt codes stand for.

Disease `b_*`, drug `y_*` and act `s_*` files (CSV in CP932, no header), plain or in a zip. Of several files
of a kind the last by name counts where they differ; abolished codes keep their meaning.
Source: 社会保険診療報酬支払基金, 基本マスター; the columns that are used stand in docs/simulated-formats.md.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claimscale.codes import SEPARATOR, respell
from claimscale.errors import BadInput

ENCODING = "cp932"
DISEASE, RECEIPT = "DISEASE" + SEPARATOR, "RECEIPT" + SEPARATOR
"""Codes of receipts that no master explains: 7 digits of a disease, 9 digits of an act or a drug."""
SUSPECTED = "8002"
"""The modifier の疑い."""
MODIFIER_LENGTH = 4

KINDS = {"b_": (2, DISEASE), "y_": (2, RECEIPT), "s_": (2, RECEIPT)}
"""First letters of a file's name: the column with the code, counted from 0, and its system."""
ICD10_2013, ICD10_2003, PRICE_CODE = 15, 13, 31
CHAPTER, SECTION, BRANCH, ITEM = 84, 91, 92, 93


@dataclass(frozen=True)
class Masters:
    """`codes`: what a receipt code becomes: `DISEASE//8833421` is `ICD10//I10`."""

    codes: dict[str, str]

    def explained(self, code: str, warnings: Counter[str]) -> str:
        """What the code stands for; itself, and a warning, if no master has it."""
        meaning = self.codes.get(code)
        if meaning is None:
            warnings["code not in masters"] += 1
        return meaning or code


def is_suspected(modifiers: str) -> bool:
    """Whether 8002 is among modifiers written one after the other.

    >>> is_suspected("20498002"), is_suspected("1800200")
    (True, False)
    """
    steps = range(0, len(modifiers), MODIFIER_LENGTH)
    return any(modifiers[place : place + MODIFIER_LENGTH] == SUSPECTED for place in steps)


def files_of(folder: str | None) -> list[Path]:
    """The master files of a folder, by name; none without a folder. Raises BadInput if it holds none."""
    if folder is None:
        return []
    place = Path(folder)
    if not place.is_dir():
        raise BadInput(f"source.masters: {folder} is not a folder")
    files = [file for file in sorted(place.iterdir()) if file.name[:2].lower() in KINDS]
    if not files:
        raise BadInput(f"source.masters: {folder} holds no master file (b_*, y_*, s_*)")
    return files


def load(folder: str | None) -> Masters:
    """All masters of a folder. Raises BadInput for a file that is not one."""
    codes: dict[str, str] = {}
    for file in files_of(folder):
        kind = file.name[:2].lower()
        column, system = KINDS[kind]
        explained = {"b_": _icd10, "y_": _price_code, "s_": _kubun}[kind]
        for row in _rows(file):
            try:
                meaning = explained(row)
                code = row[column].strip()
            except (IndexError, ValueError):
                raise BadInput(f"{file}: is not a master file of its kind") from None
            if meaning:
                codes[system + code] = respell(meaning)
    return Masters(codes)


def _rows(file: Path) -> Iterator[list[str]]:
    try:
        if file.suffix.lower() == ".zip":
            with zipfile.ZipFile(file) as archive:
                contents = [archive.read(name) for name in sorted(archive.namelist())]
        else:
            contents = [file.read_bytes()]
        for content in contents:
            yield from csv.reader(io.StringIO(content.decode(ENCODING), newline=""))
    except (OSError, UnicodeDecodeError, csv.Error, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        raise BadInput(f"{file}: cannot be read as a master file in CP932") from None


def _icd10(row: list[str]) -> str:
    code = row[ICD10_2013].strip() or row[ICD10_2003].strip()
    return "ICD10" + SEPARATOR + code if code else ""


def _price_code(row: list[str]) -> str:
    code = row[PRICE_CODE].strip()
    return "YJ" + SEPARATOR + code if code else ""


def _kubun(row: list[str]) -> str:
    """Chapter letter, section, branch and item: K695-23 is item 3 of branch 2 of K695."""
    chapter, section = row[CHAPTER].strip(), row[SECTION].strip()
    branch, item = int(row[BRANCH] or 0), int(row[ITEM] or 0)
    if not chapter.isalpha() or not section:
        return ""
    return f"KUBUN{SEPARATOR}{chapter}{section}{f'-{branch}' if branch else ''}{item or ''}"
