"""Simulated code tables in the layout of the national masters, and their receipt codes.

The ICD-10, ATC and fee schedule codes are real, as are the modifier of suspicion and the first characters of
the price codes of drugs in the task catalogue. Everything else is invented, in ranges that the national
masters of 2024 leave empty, and depends on the country's codes alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from claimscale.codes.systems import SEPARATOR, split
from claimscale.config.tasks import catalogue
from claimscale.errors import BadInput
from claimscale.simulator.writers.base import write_bytes

SUSPECTED = "8002"
"""の疑い: the modifier of a suspected diagnosis."""

INGREDIENT_LENGTH = 7
ORAL, INJECTED, EXTERNAL = "1", "4", "6"
LETTER_OF_FORM = {ORAL: "F", INJECTED: "A", EXTERNAL: "X"}
IDENTIFICATION_OF_FORM = {ORAL: "21", INJECTED: "31", EXTERNAL: "23"}
INJECTED_ATC = ("A10A", "A10BJ", "B03XA", "B05", "J01C", "J01D", "L01")
EXTERNAL_ATC = ("D", "S")

PARTS = {letter: f"{number:02d}" for number, letter in enumerate("ABCDEFGHIJKLMNO")} | {"A": "01"}
"""部 of the fee schedule by chapter letter; A is in a chapter of its own, with part 02 for stays."""
IDENTIFICATION_OF_CHAPTER = {
    **{"B": "13", "C": "14", "D": "60", "E": "70", "F": "25", "G": "33", "H": "80", "I": "80"},
    **{"J": "40", "K": "50", "L": "54", "M": "80", "N": "60", "O": "80"},
}
# K695-23 is item 3 of branch 2, as in the national master: a branch is one digit, or two ending in 0.
KUBUN = re.compile(r"([A-O])(\d{3})(?:-([1-9]0?))?([1-9]\d{0,2})?")
LIVE = "99999999"

T = TypeVar("T")


@dataclass(frozen=True)
class Drug:
    """One drug: receipt code (9 digits), price code (12 characters), form, points."""

    receipt_code: str
    price_code: str
    form: str
    points: int

    @property
    def identification(self) -> str:
        """診療識別."""
        return IDENTIFICATION_OF_FORM[self.form]


@dataclass(frozen=True)
class Act:
    """One act: receipt code (9 digits), and chapter letter, section (3 digits), branch and item (0 if none).

    `D0071` is section 007 of D, item 1; `K695-23` is section 695 of K, branch 2, item 3.
    """

    receipt_code: str
    chapter: str
    section: str
    branch: int
    item: int
    points: int

    @property
    def kubun(self) -> str:
        """The code without the system's name."""
        branch = f"-{self.branch}" if self.branch else ""
        return f"{self.chapter}{self.section}{branch}{self.item or ''}"

    @property
    def identification(self) -> str:
        """診療識別."""
        if self.chapter != "A":
            return IDENTIFICATION_OF_CHAPTER[self.chapter]
        if self.section < "100":
            return "11" if self.section == "000" else "12"
        return "92" if self.section >= "300" else "90"


@dataclass(frozen=True)
class SimulatedMasters:
    """The receipt codes of a country by ICD-10, ATC and KUBUN code, without the system's name."""

    diseases: Mapping[str, str]
    drugs: Mapping[str, Drug]
    acts: Mapping[str, Act]

    @classmethod
    def of(cls, country_codes: Sequence[str]) -> SimulatedMasters:
        """Raises BadInput for a procedure that is not a fee schedule code."""
        listed: dict[str, list[str]] = {"ICD10": [], "ATC": [], "KUBUN": []}
        for system, code in map(split, sorted(set(country_codes))):
            if system in listed:
                listed[system].append(code)
        # The national masters do not use 007xxxx, 69xxxxxxx and 195xxxxxx.
        diseases = {code: f"{70_000 + n:07d}" for n, code in enumerate(listed["ICD10"], 1)}
        acts = {code: _act(code, n) for n, code in enumerate(listed["KUBUN"], 1)}
        return cls(diseases, _drugs(listed["ATC"]), acts)

    def disease(self, code: str) -> str:
        return _known(self.diseases, "ICD10", code)

    def drug(self, code: str) -> Drug:
        return _known(self.drugs, "ATC", code)

    def act(self, code: str) -> Act:
        return _known(self.acts, "KUBUN", code)

    def write(self, folder: Path) -> None:
        """Write four tables (CP932, CRLF, quoted, no header) and the crosswalk from price codes to ATC."""
        tables = {
            "b_00000000.txt": (_disease_row(icd10, code) for icd10, code in self.diseases.items()),
            "z_00000000.txt": [_suspicion_row()],
            "y_ALL00000000.csv": (_drug_row(atc, drug) for atc, drug in self.drugs.items()),
            "s_ALL00000000.csv": (_act_row(kubun, act) for kubun, act in self.acts.items()),
        }
        for name, rows in tables.items():
            write_bytes(folder / name, _quoted(rows).encode("cp932"))
        crosswalk = "".join(f"{drug.price_code},{atc}\n" for atc, drug in self.drugs.items())
        write_bytes(folder / "atc.csv", ("price_code,atc\n" + crosswalk).encode())


def _known(table: Mapping[str, T], system: str, code: str) -> T:
    if code not in table:
        raise BadInput(f"{system}{SEPARATOR}{code}: not among the country's codes")
    return table[code]


def _act(code: str, number: int) -> Act:
    spelt = KUBUN.fullmatch(code)
    if not spelt:
        raise BadInput(f"KUBUN{SEPARATOR}{code}: not a chapter letter, three digits, a branch and an item")
    chapter, section, branch, item = spelt.groups()
    return Act(f"195{number:06d}", chapter, section, int(branch or 0), int(item or 0), 20 + number % 300)


def _drugs(atc_codes: Sequence[str]) -> dict[str, Drug]:
    ingredients = _catalogue_ingredients(atc_codes)
    products: dict[str, int] = {}
    drugs = {}
    for number, atc in enumerate(atc_codes, 1):
        ingredient = ingredients.get(atc, f"9{number:0{INGREDIENT_LENGTH - 1}d}")
        product = products[ingredient] = products.get(ingredient, 0) + 1
        form = (
            INJECTED if atc.startswith(INJECTED_ATC) else EXTERNAL if atc.startswith(EXTERNAL_ATC) else ORAL
        )
        # Ingredient, form, strength and brand, check digit.
        price_code = f"{ingredient}{LETTER_OF_FORM[form]}{product % 10}{product // 10 + 1:02d}0"
        drugs[atc] = Drug(f"69{number:07d}", price_code, form, 1 + number % 90)
    return drugs


def _catalogue_ingredients(atc_codes: Iterable[str]) -> dict[str, str]:
    """Ingredients of drugs that are outcomes of catalogue tasks, by ATC code.

    The ATC codes of an outcome receive its YJ prefixes in order, repeatedly if there are fewer prefixes. A
    number completes a prefix that is shorter than an ingredient.
    """
    ingredients: dict[str, str] = {}
    for task in catalogue().values():
        if task.kind != "medication":
            continue
        atc_prefixes, prefixes = tuple(task.outcome["ATC"]), task.outcome["YJ"]
        listed = [atc for atc in atc_codes if atc.startswith(atc_prefixes) and atc not in ingredients]
        for number, atc in enumerate(listed):
            prefix = prefixes[number % len(prefixes)]
            missing = INGREDIENT_LENGTH - len(prefix)
            ingredients[atc] = prefix + (f"{number + 1:0{missing}d}" if missing else "")
    return ingredients


def _row(width: int, fields: Mapping[int, object]) -> list[str]:
    """A row of `width` fields, numbered from 1; missing fields are empty."""
    return [str(fields.get(number, "")) for number in range(1, width + 1)]


def _quoted(rows: Iterable[Sequence[str]]) -> str:
    return "".join('"' + '","'.join(row) + '"\r\n' for row in rows)


def _disease_row(icd10: str, code: str) -> list[str]:
    name = f"模擬傷病{icd10}"
    names = {5: len(name), 6: name, 7: len(name), 8: name, 9: 8, 10: "モギショウビョウ"}
    flags = {18: "00", 19: "0", 20: "00"}
    return _row(
        46,
        {1: 0, 2: "B", 3: code, 4: code, **names, 12: 1, 13: code[-4:], 16: icd10, **flags, 24: LIVE},
    )


def _suspicion_row() -> list[str]:
    names = {6: 3, 7: "の疑い", 9: 5, 10: "ノウタガイ"}
    return _row(19, {1: 0, 2: "Z", 3: SUSPECTED, **names, 16: LIVE, 18: "Z002", 19: "A8000000"})


def _drug_row(atc: str, drug: Drug) -> list[str]:
    name = f"模擬薬{atc}"
    names = {4: len(name), 5: name, 6: 9, 7: "ﾓｷﾞﾔｸ", 35: name}
    price = {9: 1, 10: "錠", 11: 1, 12: f"{drug.points * 10}.00"}
    return _row(
        40,
        {1: 0, 2: "Y", 3: drug.receipt_code, **names, **price, 17: 0, 28: drug.form, 31: LIVE}
        | {32: drug.price_code},
    )


def _act_row(kubun: str, act: Act) -> list[str]:
    name = f"模擬行為{kubun}"
    place = {85: act.chapter, 90: 1 if act.chapter == "A" else 2, 91: PARTS[act.chapter], 92: act.section}
    if act.chapter == "A" and act.section >= "100":
        place[91] = "02"
    place |= {93: f"{act.branch:02d}", 94: f"{act.item:03d}"}
    total = act.identification + "0"
    price = {11: 3, 12: f"{act.points}.00", 15: total, 66: total}
    names = {4: len(name), 5: name, 6: 6, 7: "ﾓｷﾞｺｳｲ", 113: name}
    return _row(150, {1: 0, 2: "S", 3: act.receipt_code, **names, **price, **place, 88: LIVE})
