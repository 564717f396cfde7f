"""Tables of an unknown folder: which columns may be patients, dates and codes, by their names and values."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from claimscale.sources.column_forms import CODES, SAME_FORM, ColumnForm
from claimscale.sources.table_samples import TableSample

# Words in names of columns, from public descriptions of claims databases (OMOP, PCORnet, SynPUF, JMDC).
PATIENT = (
    r"patient|^pa?t_?(id|key|no|num)$|pat_?id|person|member|^m(em)?b?r?_?(id|key|no|num)$|subject|^bene(_?id)?$"
    r"|synpuf_?id|enrol_?id|insured|^(indv|cust)_?(id|key|no|num)$|mrn|^p?id$"
)
VISIT = r"visit|encounter|claim|clm|episode|hadm|stay_?id"
ID = r"id|num|no$|key"
HOSPITAL = r"hospital|facility|prov(ider)?_?(id|num)|prvdr_num|institution|site|care_?site"
BIRTH = r"birth|brth|^bth|born|dob|yob|yrdob"
DEATH = r"death|dod$|deceas|died"
SEX = r"sex|gender|gdr"
OBSERVED = r"elig|enrol|observ|^cov|cover|insur|member"
START, END = r"start|begin|from|eff|adm|first|fst|^in_", r"end|thru|until|to_?d|disch|dsch|last|lst|term"
STAY = r"adm|disch|dsch|inpat|stay|hosp"
DATE = r"dat|dt|day|svc|serv|fill|disp|month|_on$"
SUSPECTED = r"suspect|doubt|provisional|rule_?out"
VERSION = r"version|vers|icd_?flag|dx_?type|code_?type|icd_?type|^dxver$"
OF_SYSTEM = {
    "ATC": r"atc",
    "ICD10": r"icd|dx|diag|dgns|disease|condition|^code$",
    "ICD9CM": r"^(?!.*(proc|prcdr|px)).*(icd|dx|diag|dgns|disease|condition)",
    "ICD9PROC": r"icd.*(proc|prcdr|px)|(proc|prcdr|px).*icd|^proc\d*$|^px\d*$",
    "HCPCS": r"hcpcs|cpt|proc(?!.*mod)|^px",
    "NDC": r"ndc|drug|prod_srvc|product",
    "YJ": r"yj|drug",
    "KUBUN": r"kubun|tensu|proc",
    "DISEASE": r"disease|diag",
    "LOINC": r"loinc|lab|test|^code$",
}
OF_TABLE = {"ICD10": r"icd|dx|diag|disease|cond", "ATC": r"drug|pharm|rx|presc|med", "KUBUN": r"proc|treat"}
"""A column called `code` takes its meaning from its table."""
EMPTY_SHARE = 0.9
"""A mapping's date column is filled in at least this share of the rows."""
UNIQUE_SHARE = 0.98
"""A column of ids with more values per filled cell numbers the rows of its table; it holds no codes."""


@dataclass
class DraftTable:
    """A table with what its columns look like, and the roles that the draft gives them."""

    name: str
    columns: dict[str, ColumnForm]
    rows: int
    files: int
    roles: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, taken: TableSample) -> DraftTable:
        columns = {
            name: ColumnForm.of(name, taken.types[name], cells) for name, cells in taken.columns.items()
        }
        return cls(taken.name, columns, taken.rows, len(taken.files))

    def named(self, pattern: str) -> Iterator[ColumnForm]:
        """The columns whose names have a word, in the order of the table."""
        return (one for one in self.columns.values() if re.search(pattern, one.name))

    def is_date(self, column: ColumnForm) -> bool:
        return column.date_style is not None or column.is_month

    @cached_property
    def birth(self) -> str | None:
        """The column of the birth: a day, a month or a year."""
        found = [one for one in self.named(BIRTH) if self.is_date(one) or one.is_year]
        return max(found, key=lambda one: one.date_style is not None).name if found else None

    @cached_property
    def sex(self) -> ColumnForm | None:
        return next((one for one in self.named(SEX) if one.few_values), None)

    @cached_property
    def death(self) -> str | None:
        return next((one.name for one in self.named(DEATH) if self.is_date(one)), None)

    @cached_property
    def version(self) -> ColumnForm | None:
        """The column that tells ICD-9 from ICD-10."""
        return next((one for one in self.named(VERSION) if one.few_values), None)

    @cached_property
    def visit(self) -> str | None:
        """The column of the visit's id."""
        found = (one.name for one in self.named(VISIT) if re.search(ID, one.name) and one.counts)
        return next(found, None)

    def first_date(self, pattern: str, besides: str = f"{BIRTH}|{DEATH}") -> ColumnForm | None:
        """The first column of days or months with a word in its name and another word not in it."""
        dates = [one for one in self.named(pattern) if self.is_date(one) and not re.search(besides, one.name)]
        return next(iter(dates), None)

    @cached_property
    def codes(self) -> list[tuple[str, list[str]]]:
        """Code systems, each with its columns: those that differ in a number at the end stand together."""
        numbered: defaultdict[str, list[ColumnForm]] = defaultdict(list)
        for column in self.columns.values():
            numbered[re.sub(r"\d+$", "", column.name)].append(column)
        found: list[tuple[str, list[str]]] = []
        for columns in numbered.values():
            # The last columns are rarely filled, and then with anything.
            systems = [system for system in map(self._system, columns) if system]
            if systems:
                found.append((Counter(systems).most_common(1)[0][0], [one.name for one in columns]))
        return found

    def _system(self, column: ColumnForm) -> str | None:
        numbers_rows = column.name.endswith("id") and len(column.counts) > UNIQUE_SHARE * column.filled
        if numbers_rows or column.type not in ("text", "number") or re.search(VERSION, column.name):
            return None
        found = [one for one in column.systems if re.search(OF_SYSTEM[one], column.name)]
        if not found and self.version and re.search(OF_SYSTEM["ICD10"], column.name):
            both = column.share(f"({CODES['ICD10']})|({CODES['ICD9CM']})")
            found = ["ICD10"] if both >= SAME_FORM else []
        if column.name == "code" and len(found) != 1:
            found = [one for one in column.systems if re.search(OF_TABLE.get(one, "$^"), self.name.lower())]
        if not found and len(column.counts) > 5:  # a form that hardly anything else has
            found = [one for one in column.systems if one in ("ATC", "YJ")]
        return found[0] if found else None
