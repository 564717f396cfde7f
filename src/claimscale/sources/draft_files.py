"""The files of a draft: a mapping and a study, with every column of the claims as a comment."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import yaml
from ibis import _

from claimscale.artifacts import atomic_folder, refuse_existing, write_text
from claimscale.config.execution import EngineSettings
from claimscale.config.sources import (
    DpcSource,
    FileSource,
    MedsSource,
    OmopSource,
    ReceiptSource,
    SynpufSource,
    TablesSource,
)
from claimscale.config.tasks import catalogue
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import READERS, draft_mapping, tables, tables_mapping
from claimscale.sources.dates import DateStyle, timestamp_of
from claimscale.sources.draft_entries import CodesDraft
from claimscale.sources.draft_mapping import Draft
from claimscale.sources.draft_tables import DraftTable
from claimscale.sources.table_files import folder_of
from claimscale.sources.table_samples import FILES, sample

MAPPING, STUDY = "mapping.yaml", "study.yaml"
TASKS = 3
CATEGORIES = ("sex", "suspected", "version")
"""Roles of columns whose values are shown."""
FOLLOW_UP_MONTHS = 14
"""From the landmark to the end of the data: a horizon of a year, its gap, and a margin."""


def known_source(folder: Path) -> FileSource | None:
    """The settings of a folder in a format that needs no draft: one that has a reader, or a mapping.

    Raises BadInput if there is no folder.
    """
    path = str(folder_of(str(folder), "folder"))
    candidates = (
        MedsSource(kind="meds", path=path),
        OmopSource(kind="omop", path=path),
        SynpufSource(kind="synpuf", path=path),
        ReceiptSource(kind="receipt", path=path),
        DpcSource(kind="dpc", path=path),
        *(TablesSource(kind="tables", path=path, mapping=name) for name in tables_mapping.built_in()),
    )
    for source in candidates:
        with contextlib.suppress(BadInput):
            files = READERS[source.kind].files_of(source)
            if isinstance(source, TablesSource) and not _has_columns(source, files):
                continue
            if len(files) > (source.kind == "omop"):  # not `person` alone
                return source
    return None


def _has_columns(source: TablesSource, files: Mapping[str, Sequence[Path]]) -> bool:
    """Whether the tables have the columns of the mapping, not only its names of tables."""
    used = tables.columns_used(tables_mapping.load(source.mapping))
    return all(set(used[name]) <= set(sample(name, listed, FILES).types) for name, listed in files.items())


def write_draft(claims: Path, out: Path) -> Draft | None:
    """Write `study.yaml` into a new folder, with `mapping.yaml` unless the format is known: then None.

    Raises BadInput if the folder exists, or if no patients or codes are recognised in the claims.
    """
    refuse_existing(out)
    known = known_source(claims)
    draft = None if known else draft_mapping.draft(claims)
    with atomic_folder(out) as partial:
        if draft is not None:
            write_text(partial / MAPPING, mapping_text(draft))
        source = known or TablesSource(kind="tables", path=str(claims), mapping=str(out / MAPPING))
        write_text(partial / STUDY, study_text(draft, source))
    return draft


def mapping_text(draft: Draft) -> str:
    """The mapping as YAML."""
    lines = ["# A draft from the first rows of each table. Check it: docs/sources/mapping.md has all keys."]
    lines += [f"# Check: {note}" for note in draft.notes]
    lines.append(_yaml(draft.mapping))
    for table in draft.tables:
        lines += _table_lines(table)
    return "\n".join(lines) + "\n"


def study_text(draft: Draft | None, source: FileSource) -> str:
    """A study of these claims as YAML, with tasks of the catalogue whose codes are among its systems."""
    landmark, tasks = None, list(catalogue())
    lines = ["# A draft. docs/study.md has all settings, `claimscale tasks` lists the catalogue."]
    settings = source.model_dump(exclude_defaults=True)
    if draft is not None:
        if draft.encoding != "utf-8":
            settings["encoding"] = draft.encoding
        systems = {entry["system"] for entry in draft.mapping["codes"]}
        tasks = [name for name, task in catalogue().items() if set(task.outcome) & systems]
        landmark = draft_landmark(draft)
    if landmark is None:
        lines.append(
            "# Check: cohort.landmark, a date with a year of claims before it and thirteen months after it "
            "(`claimscale ingest` prints from when to when the claims are)"
        )
    if not tasks:
        lines.append("# Check: no task of the catalogue has codes of these systems (docs/tasks.md)")
    elif draft is None:
        lines.append("# Check: tasks, whose codes must be of the systems of these claims (claimscale tasks)")
    lines.append(f"name: {_study_name(Path(source.path))}")
    lines.append("source: " + _flow(settings))
    lines.append(f"cohort: {{landmark: {landmark or dt.date(2020, 10, 1)}}}")
    lines.append("sizes: [300k, 1.3M, 5M]")
    lines.append(f"tasks: [{', '.join(tasks[:TASKS] or ['ckd'])}]")
    return "\n".join(lines) + "\n"


def draft_landmark(draft: Draft) -> dt.date | None:
    """The first of a month that leaves a year and a gap before the last day of the sampled codes."""
    tables = {table.name: table for table in draft.tables}
    style: DateStyle = draft.mapping["dates"]
    with Engine(EngineSettings()) as engine:
        last = [_last_month(tables[one["table"]], one, style, engine) for one in draft.mapping["codes"]]
    known = [month for month in last if month is not None]
    if not known:
        return None
    year, month = divmod(max(known) - FOLLOW_UP_MONTHS, 12)
    return dt.date(year, month + 1, 1)


def _last_month(table: DraftTable, entry: CodesDraft, style: DateStyle, engine: Engine) -> int | None:
    """Months since the year 0 of the last dates of an entry's codes, but for the last 2 %."""
    column = table.columns.get(entry.get("date") or entry.get("month", ""))
    if column is None or not table.is_date(column):
        return None
    values = ibis.memtable(pa.table({"value": list(column.counts), "rows": list(column.counts.values())}))
    read = values.select("rows", time=timestamp_of(values.value, style)).filter(_.time.notnull())
    found = engine.to_arrow(read.order_by("time"))
    if not len(found):
        return None
    seen = np.cumsum(found["rows"].to_numpy())
    last = found["time"][int(np.searchsorted(seen, 0.98 * seen[-1]))].as_py()
    return 12 * last.year + last.month - 1


def _study_name(claims: Path) -> str:
    name = "".join(one if one.isalnum() or one in "-_" else "-" for one in claims.resolve().name.lower())
    return name.strip("-_") or "claims"


def _table_lines(table: DraftTable) -> list[str]:
    title = f"# {table.name}: {table.rows:,} rows of {table.files} file{'s' if table.files > 1 else ''}"
    width = max(map(len, table.columns), default=0)
    longest = max(map(len, table.roles.values()), default=1)
    lines: list[str] = []
    for name, column in table.columns.items():
        role = table.roles.get(name, "-")
        lines.append(f"#   {name:<{width}}  {role:<{longest}}  {column.looks_like(role in CATEGORIES)}")
    return [title, *lines]


def _yaml(content: Mapping[str, object]) -> str:
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def _flow(content: Mapping[str, object]) -> str:
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.strip()
