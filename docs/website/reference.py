"""Pages of the reference that are written from the program: settings, command line, summary.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from claimscale.cli import app
from claimscale.config.sources import Source
from claimscale.config.study import Study
from claimscale.config.tasks import Exclusion, Task

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "runs" / "demo" / "report.html"


def cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def models(annotation: Any) -> list[type[BaseModel]]:
    """The models named in an annotation, such as `list[Task]` or `Phenome | None`."""
    if is_model(annotation):
        return [annotation]
    return [model for part in get_args(annotation) for model in models(part)]


def values(annotation: Any) -> str:
    """The values that a setting takes, in words: `int`, `text`, `a, b or c`, `list of int`."""
    if annotation is type(None):
        return "null"
    if is_model(annotation):
        return "section"
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if hasattr(annotation, "__metadata__") or hasattr(annotation, "__value__"):
        return values(parts[0] if parts else annotation.__value__)
    if origin in (list, tuple, set, frozenset):
        inner = [part for part in parts if part is not Ellipsis]
        return f"list of {values(inner[0])}" if inner else "list"
    if origin is dict:
        return f"{values(parts[0])} to {values(parts[1])}"
    if parts:
        return " or ".join(dict.fromkeys(values(part) for part in parts))
    return {"str": "text", "float": "number", "bool": "true, false", "Path": "path"}.get(
        getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation))
    )


def limits(field: FieldInfo) -> str:
    """The limits of a setting: `above 0`, `at least 1 entry`."""
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    found = [
        f"{word} {getattr(part, key)}"
        for part in field.metadata
        for key, word in words.items()
        if getattr(part, key, None) is not None
    ]
    return ", ".join(found)


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{json.dumps(value, ensure_ascii=False, default=str)}`"


def rows(model: type[BaseModel], before: str) -> Iterator[str]:
    yield "| setting | values | default | meaning |\n|---|---|---|---|"
    for name, field in model.model_fields.items():
        if is_model(field.annotation):
            continue
        taken = "; ".join(part for part in (values(field.annotation), limits(field)) if part)
        columns = (f"`{before}{name}`", taken, default(field), field.description or "")
        yield "| " + " | ".join(cell(column) for column in columns) + " |"


def section(model: type[BaseModel], title: str, before: str, level: int = 2) -> Iterator[str]:
    """A heading, the docstring and a table of a model, then its sections."""
    yield f"{'#' * level} {title}\n"
    yield " ".join((model.__doc__ or "").split()) + "\n"
    yield from rows(model, before)
    yield ""
    for name, field in model.model_fields.items():
        if is_model(field.annotation):
            yield from section(field.annotation, f"`{before}{name}`", f"{before}{name}.", min(level + 1, 4))


def settings_page() -> str:
    """Every setting of a study, a source and a task, with values, default and meaning."""
    lines = [
        "# Settings\n",
        "This page is written from the program. A study file has these keys; `--set pretrain.epochs=4` overrides one on the "
        "command line. [The study file](../study.md) shows a first study.\n",
        *section(Study, "Study", ""),
        "## Sources\n",
        "`source.kind` chooses the format. [Data sources](../sources/README.md) describes each.\n",
    ]
    for source in models(Source):
        kind = get_args(source.model_fields["kind"].annotation)[0]
        lines += section(source, f"`source` with `kind: {kind}`", "source.", 3)
    lines += ["## Tasks\n", "[Defining prediction tasks](../tasks.md) shows examples.\n"]
    lines += [*section(Task, "A task", "", 3), *section(Exclusion, "An entry of `exclude`", "", 3)]
    for name, field in Study.model_fields.items():
        if not is_model(field.annotation) and name not in ("source", "tasks"):
            for model in models(field.annotation):
                lines += section(model, f"`{name}`", f"{name}.")
    return "\n".join(lines)


def cli_page() -> str:
    """Every command with its parameters."""
    text = app.generate_docs(output_format="markdown")
    body = text[text.index("**Commands**") :]
    body = re.sub(r"\bdocs/([\w/]+\.md)", r"[\1](../\1)", body)
    body = re.sub(r"^## claimscale (\w+)$", r"## `claimscale \1`", body, flags=re.MULTILINE)
    body = body.replace("```console", "```sh")
    return (
        "# Command line\n\nThis page is written from the program. Exit codes: 0 done, 2 bad input (one line), "
        f"3 stopped and resumable.\n\n{body}"
    )


def schema_type(part: dict[str, Any]) -> str:
    """The type of a field of the schema, with links to the parts."""
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in part:
            return " or ".join(dict.fromkeys(schema_type(one) for one in part[key]))
    if "enum" in part or "const" in part:
        return ", ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array":
        return f"list of {schema_type(part.get('items', {}))}"
    if part.get("type") == "object" and isinstance(part.get("additionalProperties"), dict):
        return f"text to {schema_type(part['additionalProperties'])}"
    return str(part.get("type", "any"))


def summary_page() -> str:
    """Every field of summary.json, from docs/summary.schema.json."""
    schema = json.loads((ROOT / "docs" / "summary.schema.json").read_text("utf-8"))
    lines = [
        "# summary.json\n",
        'This page is written from [summary.schema.json](../summary.schema.json). A small count is text, `"<10"`; a count '
        "that would disclose one is null. [Run directory](../files.md) has the other files.\n",
    ]
    for name, part in {"Summary": schema, **schema["$defs"]}.items():
        lines += [f"## {name}\n", " ".join(part.get("description", "").split()) + "\n"]
        if "properties" in part:
            lines.append("| field | type | meaning |\n|---|---|---|")
            for field, content in part["properties"].items():
                kind, meaning = schema_type(content), content.get("description", "")
                lines.append(f"| `{field}` | {cell(kind)} | {cell(meaning)} |")
        lines.append("")
    return "\n".join(lines)


def sample_page() -> str:
    """The report of the demonstration: whole if it has been run here, otherwise its picture."""
    lines = ["# Sample report\n"]
    if REPORT.is_file():
        lines.append(
            "[The report of the demonstration](../sample_report.html) opens in this window. It is one file.\n"
        )
    else:
        lines.append(
            "The report of the demonstration was not there when these pages were built. `make study` writes it (seven to "
            "nine minutes), and `make docs` then includes it here.\n"
        )
    lines.append("![The report of the demonstration](../images/report.png)\n")
    lines.append("Its patients are simulated. [The report](../report.md) describes every part.\n")
    return "\n".join(lines)


PAGES = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "summary.md": summary_page,
    "sample-report.md": sample_page,
}
