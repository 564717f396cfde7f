"""A preview of flat tables: what the first rows of each table would become, within seconds at any size.

The mapping is applied by the code that reads all rows. Tables are not joined: whether an event's patient is
listed, and the month and hospital of its visit, are known to `ingest` only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import formatting
from claimscale.artifacts import make_folder
from claimscale.codes import systems
from claimscale.config.secrets import expanded
from claimscale.config.sources import Source, TablesSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import tables, tables_events, tables_mapping
from claimscale.sources.column_forms import DAYS, ColumnForm, shape_of
from claimscale.sources.dates import DateStyle
from claimscale.sources.table_files import check_types
from claimscale.sources.table_samples import ROWS, TableSample, sample
from claimscale.sources.tables_events import MappedTables
from claimscale.sources.tables_mapping import CodeTable, TableMapping

MASKED = re.compile(r"[9Aa]{2}|[9Aa][^\w\s][9Aa]")
"""A shape of a cell in a line."""
LOOKUP_ROWS = 2_000_000
"""Rows of a sampled code table, which should be read whole."""
SHAPES, UNREAD = 3, 8
"""Shapes of unread values, and columns that are not read, of which so many are named."""


def preview(source: Source, engine: Engine, scratch: Path) -> str:
    """A text: for each table its columns in use, what they look like, and the events of its first rows.

    Raises BadInput for a source that is no folder of tables, or a table or column that is missing.
    """
    if not isinstance(source, TablesSource):
        raise BadInput(f"--dry-run: is for kind: tables; ingest counts the rows of kind: {source.kind}")
    source = expanded(source, "source")
    mapping = tables_mapping.load(source.mapping)
    lookups = {each.lookup.table for each in mapping.codes if each.lookup}
    samples = {
        name: sample(name, files, LOOKUP_ROWS if name in lookups else ROWS, source.encoding)
        for name, files in tables.files_of(source).items()
    }
    opened = _opened(source, mapping, samples, engine, scratch)
    people = opened.mapping.patients
    lines: list[str] = []
    for name, taken in samples.items():
        used = tables.columns_used(opened.mapping)[name]
        lines += ["", _title(taken), *_columns(taken, used, opened.mapping.categories(name))]
        if name == people.table:
            lines += _people(opened, taken, engine)
        if people.death and name == (people.death_table or people.table):
            lines += _deaths(opened, taken, engine)
        for codes in (each for each in opened.mapping.codes if each.table == name):
            lines += _codes(opened, codes, taken, engine)
    if any(line.startswith("  ! ") and MASKED.search(line) for line in lines):
        lines += ["", "Cells are not shown: 9 stands for a digit, A and a for a letter."]
    return "\n".join(lines[1:])


def _opened(
    source: TablesSource,
    mapping: TableMapping,
    samples: dict[str, TableSample],
    engine: Engine,
    scratch: Path,
) -> MappedTables:
    mapping = mapping.with_columns({name: taken.table.column_names for name, taken in samples.items()})
    make_folder(scratch)
    found: dict[str, ir.Table] = {}
    for place, (name, used) in enumerate(tables.columns_used(mapping).items()):
        missing = [column for column in used if column not in samples[name].table.column_names]
        if missing:
            cause = f"has no column {', '.join(missing)} (source.mapping: {source.mapping})"
            raise BadInput(f"{samples[name].files[0]}: {cause}")
        file = scratch / f"{place}.parquet"
        pq.write_table(samples[name].table.select(used), file)
        found[name] = engine.read_parquet([file])
        check_types(found[name], samples[name].files[0])
    return MappedTables(mapping, found)


def _title(taken: TableSample) -> str:
    files = f"{len(taken.files)} files" if len(taken.files) > 1 else taken.files[0].name
    return f"{taken.name}: the first {formatting.count(taken.rows)} rows of {files}"


def _columns(taken: TableSample, used: list[str], categories: set[str]) -> Iterator[str]:
    width = max(map(len, used))
    for name in used:
        yield f"  {name:<{width}}  {_form(taken, name).looks_like(name in categories)}"
    others = [name for name in taken.table.column_names if name not in used]
    if others:
        more = f" and {len(others) - UNREAD} more" if len(others) > UNREAD else ""
        yield f"  not read: {', '.join(others[:UNREAD])}{more}"


def _form(taken: TableSample, column: str) -> ColumnForm:
    return ColumnForm.of(column, taken.types[column], taken.columns[column])


def _people(opened: MappedTables, taken: TableSample, engine: Engine) -> Iterator[str]:
    sex = opened.mapping.patients.sex
    rows = engine.to_arrow(tables_events.people(opened))
    births = [code == systems.BIRTH for code in rows["code"].to_pylist()]
    issues = rows.filter(pa.array(births))["issue"].drop_null().to_pylist()
    yield f"  -> {formatting.count(sum(births) - len(issues))} births"
    yield from _issues(opened, issues, taken, {"unreadable date": opened.mapping.birth_columns[-1]})
    known = {value.upper() for value in (*sex.male, *sex.female)}
    values = _form(taken, sex.column)
    unknown = [value for value in values.counts if value.upper() not in known]
    if unknown:
        shown = [value for value in unknown if values.is_repeated(value)][:SHAPES] or [shape_of(unknown[0])]
        cause = f"{sex.column} is neither male nor female: {', '.join(shown)}"
        yield f"  ! {formatting.count(sum(values.counts[value] for value in unknown))} rows: {cause}"


def _deaths(opened: MappedTables, taken: TableSample, engine: Engine) -> Iterator[str]:
    death = opened.mapping.patients.death
    rows = engine.to_arrow(tables_events.deaths(opened))
    issues = rows["issue"].drop_null().to_pylist()
    yield f"  -> {formatting.count(len(rows) - len(issues))} deaths"
    yield from _issues(opened, issues, taken, {"unreadable date": death.column if death else None})


def _codes(opened: MappedTables, codes: CodeTable, taken: TableSample, engine: Engine) -> Iterator[str]:
    events = tables_events.coded(opened, codes).select("code", "time", "issue")
    rows = engine.to_arrow(events)
    issues = rows["issue"].drop_null().to_pylist()
    fine = rows.filter(rows["issue"].is_null()) if issues else rows
    found = Counter(systems.canonicalize(code) for code in fine["code"].drop_null().to_pylist())
    without_code, undated = fine["code"].null_count, fine["time"].null_count
    events_of = f"{formatting.count(len(fine) - without_code)} events of {codes.system}"
    yield f"  -> {events_of}, {formatting.count(len(found))} codes"
    yield from _issues(
        opened, issues, taken, {"unreadable date": codes.date, "unreadable value": codes.value}
    )
    if without_code:
        reason = "the code table lacks the code" if codes.lookup else "no code"
        yield f"  ! {formatting.count(without_code)} rows: {reason}"
    if undated:
        from_visit = "the date is that of the visit" if codes.visit and opened.mapping.visits else "no date"
        yield f"  {'' if codes.visit else '! '}{formatting.count(undated)} rows: {from_visit}"
    strange = Counter({code: number for code, number in found.items() if not systems.is_well_formed(code)})
    if strange:
        shown = _shapes(Counter({systems.split(code)[1]: number for code, number in strange.items()}))
        yield f"  ! {formatting.count(strange.total())} events: not of the form of {codes.system}: {shown}"


def _issues(
    opened: MappedTables, issues: list[str], taken: TableSample, columns: dict[str, str | None]
) -> Iterator[str]:
    for issue, number in Counter(issues).most_common():
        line = f"  ! {formatting.count(number)} rows: {issue}"
        if column := columns.get(issue):
            line += f"; {column} {_unread(opened, taken, column)}"
        yield line


def _unread(opened: MappedTables, taken: TableSample, column: str) -> str:
    """The shapes of values that are no day of the mapping's style, and the style that reads them."""
    form = _form(taken, column)
    values = form.counts

    def reads(style: DateStyle, value: str) -> bool:
        return any(re.fullmatch(DAYS[one], value) for one in (style, "western"))

    odd = Counter({value: rows for value, rows in values.items() if not reads(opened.mapping.dates, value)})
    empty = form.rows - form.filled
    if not odd:
        return f"is empty in {formatting.count(empty)}" if empty else "has days that no calendar has"
    styles = [style for style in DAYS if all(reads(style, value) for value in odd)]
    blank = f" and {formatting.count(empty)} empty cells" if empty else ""
    return f"has {_shapes(odd)}{blank}" + (f" (dates: {styles[0]} reads them)" if styles else "")


def _shapes(values: Counter[str]) -> str:
    """The commonest shapes of some values."""
    shapes = Counter[str]()
    for value, rows in values.items():
        shapes[shape_of(value)] += rows
    return ", ".join(shape for shape, _ in shapes.most_common(SHAPES))
