"""Codes of conditions and drugs in ICD-10 and ATC, by the vocabulary tables of an OMOP source.

Source: The Book of OHDSI, chapter 5: a source code 'Maps to' standard concepts, and drugs descend from the
classes of ATC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from claimscale.codes.systems import ancestors, canonicalize, split
from claimscale.errors import BadInput
from claimscale.sources.omop_concepts import RXNORM_TO_ATC, Concepts
from claimscale.sources.omop_tables import ANCESTOR, RELATIONSHIP

TABLES_OF_SYSTEM = {"ICD10": ("condition_occurrence", "observation"), "ATC": ("drug_exposure",)}
"""The clinical tables whose codes are translated to a system. Observations hold codes of
chapter Z of ICD-10, such as dialysis and family history."""
NEEDED_TABLES = {"ICD10": (RELATIONSHIP,), "ATC": (ANCESTOR, RELATIONSHIP)}
"""One of them is needed."""


class Translator:
    """Translates codes to the systems of `source.translate_to`; `ids` are the concepts that occur."""

    def __init__(self, concepts: Concepts, systems: Sequence[str], ids: Collection[int]) -> None:
        """Raises BadInput if the vocabulary lacks the tables that a translation needs."""
        self._candidates: dict[str, Mapping[int, set[str]]] = {}
        for system in systems:
            if not any(map(concepts.has, NEEDED_TABLES[system])):
                needed = " or ".join(NEEDED_TABLES[system])
                raise BadInput(f"source.translate_to: {system} needs table {needed} of the vocabulary")
            self._candidates[system] = _candidates(concepts, system, ids)

    def translate(self, table: str, code: str, ids: Iterable[int]) -> tuple[str, str | None]:
        """The code of a row, given its concepts in order of preference, and what is to be said of it.

        A code of several candidates is the longest code that stands for all of them. Without one, the code
        is unchanged.
        """
        for system, candidates in self._candidates.items():
            if table not in TABLES_OF_SYSTEM[system] or split(code)[0] == system:
                continue
            found = next((candidates[id] for id in ids if id in candidates), None)
            if found is None:
                return code, f"no {system} code for the concept, code unchanged"
            common = common_code(found)
            if common is None:
                return code, f"several {system} codes for the concept, code unchanged"
            if common in found and len(found) == 1:
                return common, None
            return common, f"several {system} codes for the concept, their common category used"
        return code, None


def common_code(codes: Collection[str]) -> str | None:
    """The longest code that all codes equal or are below of; None if there is none.

    >>> common_code({"ICD10//E119", "ICD10//E118"}), common_code({"ATC//N02BA01", "ATC//B01AC06"})
    ('ICD10//E11', None)
    >>> common_code({"ATC//A10BA02", "ATC//A10BD07"}), common_code({"ICD10//E11", "ICD10//E119"})
    ('ATC//A10B', 'ICD10//E11')
    """
    lineages = [[code, *ancestors(code)] for code in sorted(codes)]
    return (
        next((code for code in lineages[0] if all(code in each for each in lineages)), None)
        if lineages
        else None
    )


def _candidates(concepts: Concepts, system: str, ids: Collection[int]) -> dict[int, set[str]]:
    """The codes of the system for each concept that has some; none for one that is only part of codes.

    A concept stands for the concepts that it maps to, if it maps to any: NDC and local drugs map to RxNorm.
    """
    maps = concepts.standard_concepts(ids) if concepts.has(RELATIONSHIP) else {}
    standard_of = {id: maps.get(id, {id}) for id in ids}
    standard = set().union(*standard_of.values())
    codes = _drug_classes(concepts, standard) if system == "ATC" else _diagnoses(concepts, standard)
    return {
        id: set().union(*(codes[each] for each in standards if each in codes))
        for id, standards in standard_of.items()
        if not codes.keys().isdisjoint(standards)
    }


def _diagnoses(concepts: Concepts, ids: Collection[int]) -> dict[int, set[str]]:
    """'Maps to' backwards. A code that maps to several concepts means all of them, so none alone has it."""
    whole, parts = concepts.sources(ids, "ICD10")
    return {id: set(map(canonicalize, whole.get(id, ()))) for id in {*whole, *parts}}


def _drug_classes(concepts: Concepts, ids: Collection[int]) -> dict[int, set[str]]:
    """Classes among the ancestors, or by relationships for drugs without any; only the lowest of them."""
    found: dict[int, set[str]] = {}
    if concepts.has(ANCESTOR):
        found = concepts.ancestors(ids, "ATC")
    if concepts.has(RELATIONSHIP) and (others := set(ids) - found.keys()):
        found |= concepts.related(others, "ATC", RXNORM_TO_ATC)
    return {id: _lowest(set(map(canonicalize, codes))) for id, codes in found.items()}


def _lowest(codes: set[str]) -> set[str]:
    """The codes that are not the beginning of another one."""
    return {code for code in codes if not any(other.startswith(code) and other != code for other in codes)}
