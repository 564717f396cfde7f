"""Code systems: the type of a code, its canonical form, and its roll-up.

A code is a string `SYSTEM//CODE` (`ICD10//N189`, `ATC//N02BF02`). Codes are never numbers: a leading zero
is part of the code. Codes of systems that are not listed here are unchanged and have the type "other".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from claimscale.codes import icd
from claimscale.constants import DEATH as DEATH
from claimscale.errors import BadInput

SEPARATOR = "//"
BIRTH = "MEDS_BIRTH"
SEX_PREFIX = "SEX//"
ADMISSION, DISCHARGE = "VISIT//ADMISSION", "VISIT//DISCHARGE"

TYPES = ("special", "sex", "diagnosis", "suspected", "drug", "procedure", "visit", "other")
"""The types of tokens; the place in this tuple is the type id."""

Depth = int | Literal["who"]
"""How far the codes of a system are rolled up: characters or levels; `who` is for ICD10 only."""


@dataclass(frozen=True)
class CodeSystem:
    """One code system.

    `level_lengths` gives the characters of each level of a hierarchy by prefix; if it is empty, a
    depth is a number of characters. In `dotted` systems, dots in codes have no meaning.
    """

    name: str
    type: str
    level_lengths: tuple[int, ...] = ()
    dotted: bool = False
    shape: str = r".+"
    """A regular expression that every code of the system matches as a whole."""
    shortest_ancestor: int = 0
    """Characters of the shortest code that can stand for a longer one; 0 if none can."""

    def canonicalize(self, text: str) -> str:
        """The canonical form of a code: half-width, upper case, without blanks around it or meaningless dots.

        A hyphen at the end, which marks missing digits, is removed.

        >>> SYSTEMS["ICD10"].canonicalize(" n18.9 "), SYSTEMS["NDC"].canonicalize("00093075601")
        ('N189', '00093075601')
        >>> SYSTEMS["ICD10"].canonicalize("Ｉ５０－")
        'I50'
        """
        code = unicodedata.normalize("NFKC", text).strip().upper()
        return code.replace(".", "").rstrip("-") if self.dotted else code

    def roll_up(self, code: str, depth: Depth) -> str:
        """The ancestor of the code at a depth; a shorter code is unchanged.

        The depth `who` means the longest prefix that the WHO's ICD-10 has, without national extensions.
        Raises BadInput if the system has no such level.

        >>> SYSTEMS["ATC"].roll_up("N02BF02", 4), SYSTEMS["ICD9CM"].roll_up("0389", 3)
        ('N02BF', '038')
        """
        if depth == "who":
            if self.name != "ICD10":
                raise BadInput(f"tokens.rollup.{self.name}: `who` is a depth of ICD10 only")
            return icd.longest_who_prefix(code)
        if not self.level_lengths:
            return code[:depth]
        if depth > len(self.level_lengths):
            levels = len(self.level_lengths)
            raise BadInput(f"tokens.rollup.{self.name}: there are {levels} levels, not {depth}")
        return code[: self.level_lengths[depth - 1]]


SYSTEMS = {
    system.name: system
    for system in (
        CodeSystem("ICD10", "diagnosis", (), True, r"[A-Z][0-9][0-9A-Z-]{0,5}", 3),
        CodeSystem("ICD9CM", "diagnosis", (), True, r"([0-9]{3}|V[0-9]{2})[0-9]{0,2}|E[0-9]{3,4}", 3),
        CodeSystem("DISEASE", "diagnosis", shape=r"[0-9]{7}"),
        CodeSystem("ATC", "drug", (1, 3, 4, 5, 7), False, r"[A-Z]([0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?)?", 4),
        CodeSystem("YJ", "drug", shape=r"[0-9]{4}[0-9A-Z]{0,8}", shortest_ancestor=4),
        CodeSystem("NDC", "drug", shape=r"[0-9]{8,11}"),
        CodeSystem("KUBUN", "procedure", shape=r"[A-Z][0-9][0-9A-Z-]*", shortest_ancestor=4),
        CodeSystem("HCPCS", "procedure", shape=r"[0-9A-Z]{5}([0-9A-Z]{2})?"),
        CodeSystem("ICD9PROC", "procedure", (), True, r"[0-9]{2,4}", 2),
        CodeSystem("VISIT", "visit"),
        CodeSystem("SEX", "sex", shape=r"[FMU]"),
    )
}


ALIASES = {
    "ICD10CM": "ICD10", "ICD10GM": "ICD10", "ICD10WHO": "ICD10", "ICD9": "ICD9CM", "CPT": "HCPCS",
    "CPT4": "HCPCS", "NDC11": "NDC", "ICD9PCS": "ICD9PROC", "ICD9CMPROC": "ICD9PROC",
}  # fmt: skip
"""Other names of known systems, in capitals, letters and digits alone."""


def meant(name: str) -> str | None:
    """The known system that an unknown name stands for: another name of it, or two signs exchanged.

    >>> meant("icd-10"), meant("ICD10-CM"), meant("IDC10"), meant("ICD10"), meant("LOINC"), meant("ICD11")
    ('ICD10', 'ICD10', 'ICD10', None, None, None)
    """
    plain = re.sub(r"[^A-Z0-9]", "", name.upper())
    if name in SYSTEMS:
        return None
    return ALIASES.get(plain) or next((known for known in SYSTEMS if sorted(known) == sorted(plain)), None)


def check_system(name: str) -> str:
    """The name. Raises ValueError if a known system goes by another name."""
    if known := meant(name):
        raise ValueError(f"code system {name!r} is written {known} here")
    return name


def split(code: str) -> tuple[str, str]:
    """System and code; a code without a system, such as MEDS_DEATH, has the system "".

    >>> split("ICD10//N189"), split("MEDS_DEATH")
    (('ICD10', 'N189'), ('', 'MEDS_DEATH'))
    """
    system, separator, value = code.partition(SEPARATOR)
    return (system, value) if separator else ("", code)


def canonicalize(code: str) -> str:
    """A whole code in the canonical form of its system.

    >>> canonicalize("ICD10//n18.9"), canonicalize("LOINC//718-7 "), canonicalize("MEDS_DEATH")
    ('ICD10//N189', 'LOINC//718-7', 'MEDS_DEATH')
    """
    name, value = split(code)
    if name in SYSTEMS:
        return name + SEPARATOR + SYSTEMS[name].canonicalize(value)
    return unicodedata.normalize("NFKC", code).strip()


def is_well_formed(code: str) -> bool:
    """Whether a canonical code has the form of its system. Without a known system, any text has.

    >>> is_well_formed("ICD10//N189"), is_well_formed("ICD10//189"), is_well_formed("LOINC//")
    (True, False, False)
    """
    name, value = split(code)
    if name in SYSTEMS:
        return re.fullmatch(SYSTEMS[name].shape, value) is not None
    return bool(value)


def type_of(code: str, suspected: bool = False) -> str:
    """One of TYPES. Only a diagnosis can be suspected.

    >>> type_of("ICD10//N189"), type_of("ICD10//N189", suspected=True), type_of("LAB//718-7")
    ('diagnosis', 'suspected', 'other')
    """
    system = SYSTEMS.get(split(code)[0])
    if system is None:
        return "other"
    return "suspected" if suspected and system.type == "diagnosis" else system.type


def roll_up(code: str, depths: Mapping[str, Depth]) -> str:
    """The code shortened to its system's depth, if `depths` names one.

    >>> roll_up("ICD10//N189", {"ICD10": 3}), roll_up("ATC//N02BF02", {"ICD10": 3})
    ('ICD10//N18', 'ATC//N02BF02')
    """
    system, value = split(code)
    if system not in depths:
        return code
    return system + SEPARATOR + SYSTEMS[system].roll_up(value, depths[system])


def ancestors(code: str) -> list[str]:
    """The shorter codes that can stand for this one, the longest first.

    >>> ancestors("ICD10//E1165"), ancestors("ATC//N02BF02"), ancestors("NDC//00093075601")
    (['ICD10//E116', 'ICD10//E11'], ['ATC//N02BF', 'ATC//N02B'], [])
    """
    name, value = split(code)
    system = SYSTEMS.get(name)
    if system is None or not system.shortest_ancestor:
        return []
    lengths = range(len(value) - 1, system.shortest_ancestor - 1, -1)
    levels = system.level_lengths
    return [name + SEPARATOR + value[:length] for length in lengths if not levels or length in levels]


def merges_longer(code: str, depths: Mapping[str, Depth]) -> bool:
    """Whether longer codes are rolled up into this one.

    >>> merges_longer("ICD10//N18", {"ICD10": 3}), merges_longer("ICD10//N189", {"ICD10": 4, "ATC": 5})
    (True, True)
    >>> merges_longer("ICD10//N18", {"ICD10": 4}), merges_longer("ICD10//N18", {})
    (False, False)
    """
    # A national version may extend any code of the WHO.
    return depths.get(split(code)[0]) == "who" or roll_up(code + "0", depths) == code


def check_depths(depths: Mapping[str, Depth], setting: str = "tokens.rollup") -> None:
    """Raises BadInput for a roll-up of an unknown system, or to a level that the system does not have."""
    for name, depth in depths.items():
        if name not in SYSTEMS:
            raise BadInput(f"{setting}.{name}: no such code system (known: {', '.join(SYSTEMS)})")
        levels = len(SYSTEMS[name].level_lengths)
        if levels and depth != "who" and depth > levels:
            raise BadInput(f"{setting}.{name}: there are {levels} levels, not {depth}")
        SYSTEMS[name].roll_up("", depth)


def full_prefixes(prefixes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Prefixes per system as prefixes of whole codes, in canonical form; the system "" is that of a death.

    >>> full_prefixes({"ICD10": ["N18", "z99.2"], "ATC": ["B05Z"]})
    ('ICD10//N18', 'ICD10//Z992', 'ATC//B05Z')
    >>> full_prefixes({"": ["MEDS_DEATH"]})
    ('MEDS_DEATH',)
    """
    start = {name: name + SEPARATOR if name else "" for name in prefixes}
    return tuple(
        start[name] + (SYSTEMS[name].canonicalize(prefix) if name in SYSTEMS else prefix)
        for name, listed in prefixes.items()
        for prefix in listed
    )
