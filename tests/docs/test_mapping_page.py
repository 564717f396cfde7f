"""docs/sources/mapping.md lists every key of a mapping with its default and its meaning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from claimscale.sources import tables_mapping
from claimscale.sources.tables_mapping import TableMapping

PAGE = (Path(__file__).parents[2] / "docs" / "sources" / "mapping.md").read_text("utf-8")


def section(annotation: Any) -> type[BaseModel] | None:
    """The settings within an annotation, such as `list[CodeTable]` or `RowFilter | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section(part))), None)


def keys(model: type[BaseModel] = TableMapping, before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield before + name, field
        if (nested := section(field.annotation)) is not None:
            yield from keys(nested, f"{before}{name}.")


def row(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else "-" if field.default is None else f"`{field.default}`"
    return f"| `{name}` | {default} | {' '.join((field.description or '').split())} |"


@pytest.mark.parametrize(
    ("name", "field"), list(keys()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_key_is_listed_with_its_default_and_meaning(name: str, field: FieldInfo) -> None:
    assert field.description, "a docstring"
    assert PAGE.splitlines().count(row(name, field)) == 1


def test_no_other_key_is_listed() -> None:
    assert sum(line.startswith("| `") for line in PAGE.splitlines()) == len(list(keys())) > 40


def test_the_largest_built_in_mapping_uses_listed_keys_only() -> None:
    mapping = tables_mapping.load("jmdc").model_dump(exclude_none=True)

    def used(value: Any, before: str = "") -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield before + name
                yield from used(inner, f"{before}{name}.")
        elif isinstance(value, list):
            for inner in value:
                yield from used(inner, before)

    assert {f"`{name}`" for name in used(mapping)} <= set(PAGE.replace("|", " ").split())
