"""The tables of an OMOP source, from files or from a database.

Source: OHDSI Common Data Model 5.4, https://ohdsi.github.io/CommonDataModel/cdm54.html.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis.common.exceptions import TableNotFound

from claimscale.config.sources import OmopSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.redaction import HIDDEN, redact
from claimscale.sources.casting import NO_TEXT, Expression, integer_of, is_unreadable, text_of
from claimscale.sources.dates import timestamp_of
from claimscale.sources.table_files import files_of_table, folder_of, no_table, open_table


@dataclass(frozen=True)
class OmopDomain:
    """A clinical table: what its columns begin with, its date, and a number if it has one."""

    table: str
    stem: str
    date: str
    value: str | None = None


DOMAINS = (
    OmopDomain("condition_occurrence", "condition", "condition_start_date"),
    OmopDomain("drug_exposure", "drug", "drug_exposure_start_date"),
    OmopDomain("procedure_occurrence", "procedure", "procedure_date"),
    OmopDomain("measurement", "measurement", "measurement_date", "value_as_number"),
    OmopDomain("observation", "observation", "observation_date", "value_as_number"),
    OmopDomain("device_exposure", "device", "device_exposure_start_date"),
)
NEEDED = "person"
CLINICAL = (
    *(NEEDED, "visit_occurrence", "observation_period", "death", "care_site"),
    *(domain.table for domain in DOMAINS),
)
CONCEPT, RELATIONSHIP, ANCESTOR = VOCABULARY = ("concept", "concept_relationship", "concept_ancestor")
VOCABULARY_SETTING = "source.vocabulary"


def is_database(source: OmopSource) -> bool:
    return "://" in source.path


def vocabulary_tables(source: OmopSource) -> tuple[str, ...]:
    """The vocabulary tables that are read if they exist."""
    return VOCABULARY if source.translate_to else (CONCEPT,)


def vocabulary_is_schema(source: OmopSource) -> bool:
    """Whether `source.vocabulary` is a schema of the database and not a folder."""
    return is_database(source) and source.vocabulary is not None and not set(source.vocabulary) & {*"/\\"}


def files_of(source: OmopSource) -> dict[str, list[Path]]:
    """The files of each table; none for those in a database.

    Raises BadInput for a missing folder or table.
    """
    found: dict[str, list[Path]] = {}
    if not is_database(source):
        folder = folder_of(source.path)
        names = CLINICAL if source.vocabulary else (*CLINICAL, *vocabulary_tables(source))
        found = {name: files for name in names if (files := files_of_table(folder, name))}
        if NEEDED not in found:
            raise no_table(folder, NEEDED)
    if source.vocabulary is not None and not vocabulary_is_schema(source):
        folder = folder_of(source.vocabulary, VOCABULARY_SETTING)
        for name in vocabulary_tables(source):
            if files := files_of_table(folder, name, VOCABULARY_SETTING):
                found[name] = files
        if CONCEPT not in found:
            raise no_table(folder, CONCEPT, VOCABULARY_SETTING)
    return found


def other_inputs(source: OmopSource) -> list[int] | None:
    """Size and age of a DuckDB file; None for files, and for a server, whose age is unknown."""
    if not is_database(source):
        return None
    url, _schema = _schema_of_duckdb(source.path)
    file = Path(url.partition("://")[2])
    if url.startswith("duckdb://") and file.is_file():
        return [file.stat().st_size, file.stat().st_mtime_ns]
    return None


class OmopTables:
    """The tables of the source, with column names in lower case."""

    def __init__(self, source: OmopSource, engine: Engine, scratch: Path) -> None:
        self.engine = engine
        self.codes = source.codes
        self.translate_to = source.translate_to
        self.stays = source.stays
        self.tables = {
            # Athena writes tabs between its columns and does not quote names that contain quotes.
            name: open_table(files, engine, scratch, bare_quotes=name in VOCABULARY)
            for name, files in files_of(source).items()
        }
        if is_database(source):
            self.tables |= _copy_database(source, engine, scratch)
        columns = [table[VISIT] for table in self.tables.values() if VISIT in table.columns]
        self._visits_are_integers = all(column.type().is_integer() for column in columns)

    def has(self, name: str) -> bool:
        return name in self.tables

    def __getitem__(self, name: str) -> ir.Table:
        return self.tables[name]

    def column(self, table: str, name: str) -> Expression:
        """A column unchanged. Raises BadInput if the table lacks it."""
        if name not in self.tables[table].columns:
            raise BadInput(f"source.path: table {table} has no column {name}")
        return self.tables[table][name]

    def id(self, table: str, name: str, *, optional: bool = False) -> Expression:
        """A column as integers, whatever its stored type; null if an optional column is absent."""
        if optional and name not in self.tables[table].columns:
            return ibis.null("int64")
        return integer_of(self.column(table, name))

    def person(self, table: str) -> dict[str, Expression]:
        """`patient`, and `is_unreadable` where the id is no int64."""
        given = self.column(table, "person_id")
        patient = integer_of(given)
        return {"patient": patient, "is_unreadable": is_unreadable(given, patient)}

    def visit(self, table: str) -> Expression:
        """The id of the visit of a row. Ids that are stored as text are compared as text, at any length."""
        if VISIT not in self.tables[table].columns:
            return ibis.null("int64" if self._visits_are_integers else "string")
        column: Expression = self.tables[table][VISIT]
        if self._visits_are_integers:
            return column.cast("int64")
        return ibis.coalesce(integer_of(column).cast("string"), text_of(column))

    def text(self, table: str, name: str) -> Expression:
        if name not in self.tables[table].columns:
            return NO_TEXT
        return text_of(self.tables[table][name])

    def period(self, table: str, stem: str) -> tuple[Expression, Expression]:
        """Start and end dates of a row."""
        start, end = (timestamp_of(self.column(table, f"{stem}_{edge}_date")) for edge in ("start", "end"))
        return start, end


VISIT = "visit_occurrence_id"


def _driver_of(url: str) -> str:
    """Which package connects to the database of a URL, as an instruction."""
    scheme = url.partition("://")[0].partition("+")[0].replace("postgresql", "postgres")
    package = "claimscale[postgres]" if scheme == "postgres" else f"ibis-framework[{scheme}]"
    return f"the driver of {scheme} is not installed: pip install '{package}'"


def _schema_of_duckdb(url: str) -> tuple[str, str | None]:
    """The URL without `schema=`, and that schema, for DuckDB only: Ibis reads it in other URLs."""
    place, _mark, query = url.partition("?")
    settings = query.split("&") if query else []
    found = [setting for setting in settings if setting.startswith("schema=")]
    if not found or not url.startswith("duckdb://"):
        return url, None
    others = "&".join(setting for setting in settings if setting not in found)
    return f"{place}?{others}" if others else place, found[0].removeprefix("schema=")


def _copy_database(source: OmopSource, engine: Engine, scratch: Path) -> dict[str, ir.Table]:
    """Tables of a database, copied to Parquet in `scratch`. Raises BadInput if it cannot be read."""
    url, own = _schema_of_duckdb(source.path)
    schemas = dict.fromkeys(CLINICAL, own)
    if source.vocabulary is None or vocabulary_is_schema(source):
        schemas |= dict.fromkeys(vocabulary_tables(source), source.vocabulary or own)
    if f":{HIDDEN}@" in url:
        raise BadInput("source.path: the password is hidden; write ${NAME} to take it from the environment")
    try:
        database: Expression = ibis.connect(url)
        is_duckdb = url.startswith("duckdb://")
        for name, schema in schemas.items():
            # A DuckDB file and its schema often have the same name, which then needs the file's as well.
            place = (database.current_catalog, schema) if is_duckdb and schema else schema
            # Each table is tried by name, because Ibis 12 cannot list the tables of DuckDB 2.
            for spelling in (name, name.upper()):
                with contextlib.suppress(TableNotFound):
                    table = database.table(spelling, database=place)
                    database.to_parquet(table, scratch / f"{name}.parquet")
                    break
        database.disconnect()
    except ImportError:
        raise BadInput(f"source.path: {_driver_of(url)}") from None
    except Exception as error:  # every database has exceptions of its own
        cause = f"{type(error).__name__}: {redact(str(error), url)}".splitlines()[0]
        raise BadInput(f"source.path: the database cannot be read ({cause})") from None
    copies = {
        name: open_table([file], engine, scratch)
        for name in schemas
        if (file := scratch / f"{name}.parquet").exists()
    }
    if NEEDED not in copies:
        raise BadInput(f"source.path: the database has no table {NEEDED}")
    if vocabulary_is_schema(source) and CONCEPT not in copies:
        cause = f"schema {source.vocabulary} has no table {CONCEPT} (a folder's name needs a slash)"
        raise BadInput(f"{VOCABULARY_SETTING}: {cause}")
    return copies
