"""The national master files as published: the meaning of receipt codes.

Disease `b_*`, modifier `z_*`, drug `y_*` and act `s_*` files (CSV in CP932, no header), plain or in a zip.
For each code, the newest file that lists it counts, so that codes which later files omit keep their meaning.
Columns are counted from 1 in comments. Source: 社会保険診療報酬支払基金, 基本マスター.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale.codes.systems import SEPARATOR, canonicalize
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources.casting import Expression

ENCODING = "cp932"
DISEASE, RECEIPT = "DISEASE" + SEPARATOR, "RECEIPT" + SEPARATOR
"""Receipt codes without a target: 7 digits of a disease, 9 digits of an act or a drug."""
SUSPECTED = "8002"
"""The modifier の疑い."""
SUSPECTED_TEXT = "の疑い"
MODIFIER_LENGTH = 4
LIVE = ("", "99999999")
CODE = 2
LARGEST_FILE = 1 << 28
"""Bytes. A master has at most 8 MB; the limit protects against zip bombs."""

NOT_IN_MASTERS = "code not in masters"
WITHOUT_TARGET = "code without a target in masters"
ABOLISHED = "abolished code"


@dataclass(frozen=True)
class MasterLayout:
    """A kind of master file: the system of its codes, its columns (from 0), and the target of a row."""

    system: str
    width: int
    abolished: int
    target: Callable[[list[str]], str]


@dataclass(frozen=True)
class MasterCodes:
    """The target of each receipt code: `codes["DISEASE//8833421"]` is `ICD10//I10`, "" without a target.

    `suspected`: modifiers (4 digits) that make a disease a suspicion. Without masters, `codes` is empty.
    """

    codes: dict[str, str]
    abolished: frozenset[str] = frozenset()
    suspected: frozenset[str] = frozenset({SUSPECTED})

    def translate(self, code: str, warnings: Counter[str]) -> str:
        """The target of the code; the code itself, and a warning, if it has none."""
        if code not in self.codes:
            warnings[NOT_IN_MASTERS] += 1
        elif not self.codes[code]:
            warnings[WITHOUT_TARGET] += 1
        elif code in self.abolished:
            warnings[ABOLISHED] += 1
        return self.codes.get(code) or code

    def table(self, engine: Engine, file: Path) -> ir.Table:
        """`receipt_code`, `target` (null if there is none) and `is_abolished`, read from a Parquet file."""
        targets = [target or None for target in self.codes.values()]
        columns = {
            "receipt_code": pa.array(self.codes, pa.string()),
            "target": pa.array(targets, pa.string()),
            "is_abolished": pa.array([code in self.abolished for code in self.codes], pa.bool_()),
        }
        pq.write_table(pa.table(columns), file)
        return engine.read_parquet(file)


def is_suspected(modifiers: str, suspected: frozenset[str] = frozenset({SUSPECTED})) -> bool:
    """Whether modifiers, written one after the other, include one of suspicion.

    >>> is_suspected("20498002"), is_suspected("1800200")
    (True, False)
    """
    steps = range(0, len(modifiers), MODIFIER_LENGTH)
    return any(modifiers[place : place + MODIFIER_LENGTH] in suspected for place in steps)


def translate_events(events: ir.Table, masters: MasterCodes, engine: Engine, file: Path) -> ir.Table:
    """The events with the targets of their codes, and `note`: why a code has no target, or null.

    Notes: NOT_IN_MASTERS, WITHOUT_TARGET, and ABOLISHED for abolished codes, which are used.
    """
    joined = events.left_join(masters.table(engine, file), [("code", "receipt_code")])
    code: Expression = joined.code
    is_raw = code.startswith(DISEASE) | code.startswith(RECEIPT)
    note = ibis.cases(
        (is_raw & joined.receipt_code.isnull(), NOT_IN_MASTERS),
        (is_raw & joined.target.isnull(), WITHOUT_TARGET),
        (is_raw & joined.is_abolished, ABOLISHED),
        else_=ibis.null("string"),
    )
    joined = joined.mutate(note=note, code=ibis.coalesce(_.target, _.code))
    return joined.drop("receipt_code", "target", "is_abolished")


def files_of(folder: str | None) -> list[Path]:
    """The master files of a folder, by name; none without a folder. Raises BadInput if it holds none."""
    if folder is None:
        return []
    place = Path(folder)
    if not place.is_dir():
        raise BadInput(f"source.masters: {folder} is not a folder")
    files = [file for file in sorted(place.iterdir()) if file.is_file() and _kind(file.name, ".zip")]
    if not files:
        raise BadInput(f"source.masters: {folder} holds no master file (b_*, y_*, s_*)")
    return files


def load(folder: str | None) -> MasterCodes:
    """All masters of a folder. Raises BadInput for a file that is no master, and if a kind is missing."""
    if folder is None:
        return MasterCodes({})
    tables = [table for file in files_of(folder) for table in _tables(file)]
    missing = [f"{letter}_*" for letter in LAYOUTS if letter not in {table.kind for table in tables}]
    if missing:
        raise BadInput(f"source.masters: {folder} holds no {', '.join(missing)}")
    codes: dict[str, str] = {}
    abolished: set[str] = set()
    suspected = {SUSPECTED}
    for table in sorted(tables, key=lambda table: (table.date, table.name)):
        for row in _rows(table):
            if table.kind == "z":
                suspected |= {row[CODE].strip()} if row[6].strip() == SUSPECTED_TEXT else set()
                continue
            layout = LAYOUTS[table.kind]
            code = layout.system + row[CODE].strip()
            codes[code] = layout.target(row)
            (abolished.discard if row[layout.abolished].strip() in LIVE else abolished.add)(code)
    return MasterCodes(codes, frozenset(abolished), frozenset(suspected))


@dataclass(frozen=True)
class _MasterFile:
    """The content of a master file; `date` (YYYYMMDD) is in its name or in that of its zip."""

    name: str
    kind: str
    date: str
    content: bytes


def _kind(name: str, *more: str) -> str:
    """b, z, y or s by a file's name; "" for other files."""
    known = re.fullmatch(r"([bzys])_.*(\.\w+)", name.lower())
    return known[1] if known and known[2] in (".txt", ".csv", *more) else ""


def _tables(file: Path) -> Iterator[_MasterFile]:
    try:
        if file.suffix.lower() != ".zip":
            if file.stat().st_size > LARGEST_FILE:
                raise BadInput(f"{file}: is too large for a master file")
            yield _MasterFile(str(file), _kind(file.name), _date(file.name), file.read_bytes())
            return
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename).name
                if not (kind := _kind(name)):
                    continue
                if member.file_size > LARGEST_FILE:
                    raise BadInput(f"{file}: {name} is too large for a master file")
                date = _date(name) or _date(file.name)
                yield _MasterFile(f"{file}: {name}", kind, date, archive.read(member))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError):
        raise BadInput(f"{file}: is no zip file that can be read") from None


def _date(name: str) -> str:
    found = re.search(r"\d{8}", name)
    return found[0] if found else ""


def _rows(table: _MasterFile) -> Iterator[list[str]]:
    """The rows. Raises BadInput, with the line, for a row that lacks columns."""
    try:
        text = table.content.decode(ENCODING)
    except UnicodeDecodeError as error:
        line = table.content[: error.start].count(b"\n") + 1
        raise BadInput(f"{table.name}, line {line}: is not text in CP932") from None
    width = LAYOUTS[table.kind].width if table.kind in LAYOUTS else 7
    reader = csv.reader(io.StringIO(text.rstrip("\x1a"), newline=""), strict=True)
    try:
        for row in reader:
            if len(row) < width or row[1].strip() != table.kind.upper() or not row[CODE].strip():
                raise BadInput(
                    f"{table.name}, line {reader.line_num}: is no row of a {table.kind}_* master file"
                )
            yield row
    except csv.Error:
        raise BadInput(f"{table.name}, line {reader.line_num}: is not CSV") from None


def _icd10(row: list[str]) -> str:
    """Column 16: ICD-10 (2013); files older than that have 14 (2003) only."""
    code = row[15].strip() or row[13].strip()
    return canonicalize("ICD10" + SEPARATOR + code) if code else ""


def _price_code(row: list[str]) -> str:
    """Column 32: 薬価基準収載医薬品コード, 12 characters."""
    code = row[31].strip()
    return canonicalize("YJ" + SEPARATOR + code) if code else ""


def _kubun(row: list[str]) -> str:
    """Chapter letter (85), section (92), branch (93) and item (94): K695-23 is item 3 of branch 2 of K695."""
    chapter, section, branch, item = (row[column].strip() for column in (84, 91, 92, 93))
    if not re.fullmatch(r"[A-O]\d{3}", chapter + section, re.ASCII):
        return ""  # chapters "-" and "*" are outside the fee schedule
    numbers = [int(text) if re.fullmatch(r"\d+", text, re.ASCII) else 0 for text in (branch, item)]
    branch, item = (str(number or "") for number in numbers)
    return f"KUBUN{SEPARATOR}{chapter}{section}{'-' if branch else ''}{branch}{item}"


LAYOUTS = {
    "b": MasterLayout(DISEASE, 24, 23, _icd10),
    "y": MasterLayout(RECEIPT, 32, 30, _price_code),
    "s": MasterLayout(RECEIPT, 94, 87, _kubun),
}
