"""Concepts of simulated claims as OMOP tables: local codes, made-up standard concepts, and how they relate.

Real SNOMED and RxNorm codes are not bundled. The standard concepts have these vocabularies, and codes that no
real concept has. Their shape is the real one: some ICD-10 codes share a condition, drugs come in strengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from claimscale.codes.systems import SYSTEMS, split
from claimscale.simulator.writers.omop_schema import STANDARD_CONCEPTS

FIRST_LOCAL, FIRST_CONDITION, FIRST_DRUG, FIRST_CLASS = (
    2_000_000_000,
    2_050_000_000,
    2_060_000_000,
    2_070_000_000,
)
"""Concept ids above 2,000,000,000 are free for local use."""
DOMAINS = {"ICD10": "Condition", "ATC": "Drug", "KUBUN": "Procedure"}
STRENGTHS = 2
"""Drug concepts of each ATC code."""
UNSPECIFIC = ("8", "9")
"""Fourth characters of ICD-10 for other and for unspecified forms of a disease: they share a condition."""
VOCABULARIES = ("ICD10", "ATC", "KUBUN", "SNOMED", "RxNorm", "Gender", "Visit")

Row = tuple[object, ...]
Columns = dict[str, list[object] | np.ndarray]


class Vocabulary:
    """Concepts by code: `local`, and `standard`, of which rows use one or another strength."""

    def __init__(self, codes: Sequence[str]) -> None:
        self.local = {code: FIRST_LOCAL + number for number, code in enumerate(sorted(codes), 1)}
        conditions: dict[str, int] = {}
        self.standard: dict[str, tuple[int, ...]] = {}
        for code, local in self.local.items():
            system, value = split(code)
            number = local - FIRST_LOCAL
            if system == "ICD10":
                condition = conditions.setdefault(condition_of(value), FIRST_CONDITION + number)
                self.standard[code] = (condition,) * STRENGTHS
            elif system == "ATC":
                first = FIRST_DRUG + number * STRENGTHS
                self.standard[code] = tuple(first + strength for strength in range(STRENGTHS))
            else:
                self.standard[code] = (local,) * STRENGTHS
        values = sorted(
            {value for code in self.local if (value := split(code)[1]) and code.startswith("ATC")}
        )
        upper = sorted({parent for value in values for parent in classes_above(value)} - {*values})
        self.classes = {value: FIRST_CLASS + number for number, value in enumerate(upper, 1)}
        self.classes |= {value: self.local[f"ATC//{value}"] for value in values}

    def tables(self) -> dict[str, Columns]:
        """Columns of `concept`, `concept_relationship`, `concept_ancestor` and `vocabulary`."""
        concepts = [*STANDARD_CONCEPTS, *self._local_concepts(), *self._standard_concepts()]
        names = ("concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_class_id")
        related = self._relationships()
        return {
            "concept": _columns((*names, "standard_concept", "concept_code"), concepts)
            | _valid(len(concepts)),
            "concept_relationship": _columns(("concept_id_1", "concept_id_2", "relationship_id"), related)
            | _valid(len(related)),
            "concept_ancestor": _columns(
                (
                    *("ancestor_concept_id", "descendant_concept_id"),
                    *("min_levels_of_separation", "max_levels_of_separation"),
                ),
                self._ancestors(),
            ),
            "vocabulary": _columns(
                ("vocabulary_id", "vocabulary_name", "vocabulary_concept_id"),
                [(name, f"simulated {name}", 0) for name in VOCABULARIES],
            ),
        }

    def _local_concepts(self) -> list[Row]:
        """The country's codes. Classes of ATC are for classification ("C"); acts have no other standard."""
        standard = {"ICD10": None, "ATC": "C", "KUBUN": "S"}
        rows: list[Row] = []
        for code, id in self.local.items():
            system, value = split(code)
            rows.append((id, f"simulated {value}", DOMAINS[system], system, system, standard[system], value))
        local = {*self.local.values()}
        return rows + [
            (id, f"simulated {value}", "Drug", "ATC", "ATC", "C", value)
            for value, id in self.classes.items()
            if id not in local
        ]

    def _standard_concepts(self) -> list[Row]:
        rows: dict[int, Row] = {}
        for code, ids in self.standard.items():
            system, value = split(code)
            for strength, id in enumerate(ids, 1):
                made_up = f"simulated {id - FIRST_CONDITION}"
                if system == "ICD10":
                    name = f"simulated condition of {condition_of(value)}"
                    rows[id] = (id, name, "Condition", "SNOMED", "Clinical Finding", "S", made_up)
                elif system == "ATC":
                    name = f"simulated drug of {value}, strength {strength}"
                    rows[id] = (id, name, "Drug", "RxNorm", "Clinical Drug", "S", made_up)
        return list(rows.values())

    def _relationships(self) -> list[Row]:
        """Diagnoses map to conditions, standard concepts to themselves; each also the other way round."""
        maps = {(id, id) for ids in self.standard.values() for id in ids}
        maps |= {
            (self.local[code], ids[0]) for code, ids in self.standard.items() if code.startswith("ICD10")
        }
        listed = sorted(maps)
        return [
            *((one, other, "Maps to") for one, other in listed),
            *((other, one, "Mapped from") for one, other in listed),
        ]

    def _ancestors(self) -> list[Row]:
        """Drugs below their classes; every standard concept and class is its own ancestor."""
        own = {id for ids in self.standard.values() for id in ids} | {*self.classes.values()}
        rows: list[Row] = [(id, id, 0, 0) for id in sorted(own)]
        for value, id in self.classes.items():
            above = [self.classes[parent] for parent in classes_above(value)]
            rows += [(parent, id, level, level) for level, parent in enumerate(above, 1)]
            for drug in self.standard.get(f"ATC//{value}", ()):
                rows += [(parent, drug, level, level) for level, parent in enumerate([id, *above], 1)]
        return rows


def condition_of(value: str) -> str:
    """The disease that an ICD-10 code stands for in the standard vocabulary.

    >>> condition_of("E118"), condition_of("E119"), condition_of("E112"), condition_of("I10")
    ('E11, other or unspecified', 'E11, other or unspecified', 'E112', 'I10')
    """
    return f"{value[:3]}, other or unspecified" if value[3:] in UNSPECIFIC else value


def classes_above(value: str) -> list[str]:
    """The ATC classes above a class, the lowest first.

    >>> classes_above("A10BA02")
    ['A10BA', 'A10B', 'A10', 'A']
    """
    return [value[:length] for length in reversed(SYSTEMS["ATC"].level_lengths) if length < len(value)]


def _columns(names: Sequence[str], rows: Sequence[Row]) -> Columns:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _valid(rows: int) -> Columns:
    """The dates between which a concept or relationship is valid."""
    return {
        "valid_start_date": np.zeros(rows, "M8[D]"),
        "valid_end_date": np.full(rows, "2099-12-31", "M8[D]"),
    }
