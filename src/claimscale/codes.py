"""Code systems: what kind of thing a code names, how it is spelt, and how it is shortened.

A code is a string `SYSTEM//CODE` (`ICD10//N189`, `ATC//N02BF02`). Codes are never numbers: a leading zero
is part of the code. Systems that are not listed here are kept as they come, under the type "other".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claimscale.errors import BadInput

SEPARATOR = "//"
BIRTH = "MEDS_BIRTH"
DEATH = "MEDS_DEATH"
SEX_PREFIX = "SEX//"

TYPES = ("special", "sex", "diagnosis", "suspected", "drug", "procedure", "visit", "other")
"""What a token can be; its place here is its type id."""


@dataclass(frozen=True)
class CodeSystem:
    """One code system.

    `level_lengths` gives the characters of each level of a hierarchy by prefix; where it is empty, a
    depth is a number of characters. `dotted` systems are written with dots that carry no meaning.
    """

    name: str
    type: str
    level_lengths: tuple[int, ...] = ()
    dotted: bool = False

    def normalise(self, text: str) -> str:
        """The one spelling of a code: no blanks around it, upper case, no dots where they mean nothing.

        >>> SYSTEMS["ICD10"].normalise(" n18.9 "), SYSTEMS["NDC"].normalise("00093075601")
        ('N189', '00093075601')
        """
        code = text.strip().upper()
        return code.replace(".", "") if self.dotted else code

    def roll_up(self, code: str, depth: int) -> str:
        """The code's ancestor at a depth; a code that is already shorter stays as it is.

        Raises BadInput where the system has no such level.

        >>> SYSTEMS["ATC"].roll_up("N02BF02", 4), SYSTEMS["ICD9CM"].roll_up("0389", 3)
        ('N02BF', '038')
        """
        if not self.level_lengths:
            return code[:depth]
        if depth > len(self.level_lengths):
            levels = len(self.level_lengths)
            raise BadInput(f"tokens.rollup.{self.name}: there are {levels} levels, not {depth}")
        return code[: self.level_lengths[depth - 1]]


SYSTEMS = {
    system.name: system
    for system in (
        CodeSystem("ICD10", "diagnosis", dotted=True),
        CodeSystem("ICD9CM", "diagnosis", dotted=True),
        CodeSystem("ATC", "drug", level_lengths=(1, 3, 4, 5, 7)),
        CodeSystem("YJ", "drug"),
        CodeSystem("NDC", "drug"),
        CodeSystem("KUBUN", "procedure"),
        CodeSystem("HCPCS", "procedure"),
        CodeSystem("ICD9PROC", "procedure", dotted=True),
        CodeSystem("VISIT", "visit"),
        CodeSystem("SEX", "sex"),
    )
}


def split(code: str) -> tuple[str, str]:
    """System and code; a code that stands alone, such as MEDS_DEATH, has the system "".

    >>> split("ICD10//N189"), split("MEDS_DEATH")
    (('ICD10', 'N189'), ('', 'MEDS_DEATH'))
    """
    system, separator, value = code.partition(SEPARATOR)
    return (system, value) if separator else ("", code)


def type_of(code: str, suspected: bool = False) -> str:
    """One of TYPES. Only a diagnosis can be suspected: a drug given on suspicion was given.

    >>> type_of("ICD10//N189"), type_of("ICD10//N189", suspected=True), type_of("LAB//718-7")
    ('diagnosis', 'suspected', 'other')
    """
    system = SYSTEMS.get(split(code)[0])
    if system is None:
        return "other"
    return "suspected" if suspected and system.type == "diagnosis" else system.type


def roll_up(code: str, depths: Mapping[str, int]) -> str:
    """The code shortened to its system's depth, if `depths` names one.

    >>> roll_up("ICD10//N189", {"ICD10": 3}), roll_up("ATC//N02BF02", {"ICD10": 3})
    ('ICD10//N18', 'ATC//N02BF02')
    """
    system, value = split(code)
    if system not in depths:
        return code
    return system + SEPARATOR + SYSTEMS[system].roll_up(value, depths[system])


def merges_longer(code: str, depths: Mapping[str, int]) -> bool:
    """Whether longer codes are rolled up into this one.

    >>> merges_longer("ICD10//N18", {"ICD10": 3}), merges_longer("ICD10//N189", {"ICD10": 4, "ATC": 5})
    (True, True)
    >>> merges_longer("ICD10//N18", {"ICD10": 4}), merges_longer("ICD10//N18", {})
    (False, False)
    """
    return roll_up(code + "0", depths) == code


def check_depths(depths: Mapping[str, int]) -> None:
    """Raises BadInput for a roll-up of an unknown system, or to a level that the system does not have."""
    for name, depth in depths.items():
        if name not in SYSTEMS:
            raise BadInput(f"tokens.rollup.{name}: no such code system (known: {', '.join(SYSTEMS)})")
        SYSTEMS[name].roll_up("", depth)


def full_prefixes(prefixes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Prefixes per system as prefixes of whole codes, in the one spelling.

    >>> full_prefixes({"ICD10": ["N18", "z99.2"], "ATC": ["B05Z"]})
    ('ICD10//N18', 'ICD10//Z992', 'ATC//B05Z')
    """
    return tuple(
        name + SEPARATOR + (SYSTEMS[name].normalise(prefix) if name in SYSTEMS else prefix)
        for name, listed in prefixes.items()
        for prefix in listed
    )


def has_prefix(code: str, prefixes: Mapping[str, Sequence[str]]) -> bool:
    """Whether the code lies under any of the prefixes given per system.

    >>> has_prefix("ICD10//N189", {"ICD10": ["N18"]}), has_prefix("ICD9CM//N18", {"ICD10": ["N18"]})
    (True, False)
    """
    return code.startswith(full_prefixes(prefixes))
