"""The JSON Schema of summary.json is documented, complete and strict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic
from pydantic import ValidationError

from claimscale.errors import BadInput
from claimscale.summary.schema import Summary, json_schema, read_summary

DOCUMENTED = Path(__file__).parents[2] / "docs" / "summary.schema.json"
GOLDEN = Path(__file__).with_name("golden_summary.json")


def test_the_documented_schema_is_current() -> None:
    """`python -m claimscale.summary.schema > docs/summary.schema.json` writes it."""
    assert json.loads(DOCUMENTED.read_text("utf-8")) == json_schema()


def test_the_golden_summary_is_valid_and_kept() -> None:
    content = json.loads(GOLDEN.read_text("utf-8"))
    assert read_summary(GOLDEN).model_dump(mode="json") == content


def test_every_field_and_part_has_a_description() -> None:
    schema = json_schema()
    parts = {"Summary": schema, **schema["$defs"]}
    missing = [name for name, part in parts.items() if not part.get("description")]
    missing += [
        f"{name}.{field}"
        for name, part in parts.items()
        if name != "Finding"
        for field, content in part.get("properties", {}).items()
        if not content.get("description") and "$ref" not in content
    ]
    assert missing == []


def test_patients_seeds_and_estimate_have_one_meaning() -> None:
    schema = json_schema()
    types = {
        name: {json.dumps(kind) for kind in _types(schema["$defs"].values(), name)}
        for name in ("patients", "seeds", "estimate")
    }
    assert {name: len(found) for name, found in types.items()} == dict.fromkeys(types, 1)


def _types(parts: Any, name: str) -> Iterator[Any]:
    for part in parts:
        if name in part.get("properties", {}):
            field = part["properties"][name]
            yield {
                key: value for key, value in field.items() if key not in ("description", "title", "default")
            }


@pytest.mark.parametrize("change", [{"unknown": 1}, {"name": None}, {"tasks": [{"name": "ckd"}]}])
def test_a_summary_with_other_fields_is_refused(change: dict[str, Any]) -> None:
    content = json.loads(GOLDEN.read_text("utf-8"))
    with pytest.raises(ValidationError):
        Summary.model_validate(content | change)


def test_a_summary_cannot_be_changed() -> None:
    summary = synthetic.typed(synthetic.summary(tasks=1))
    with pytest.raises(ValidationError):
        summary.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        summary.tasks[0].positives = 3  # type: ignore[misc]


@pytest.mark.parametrize("content", ["[1]", "{", '{"name": "x"}'])
def test_a_file_that_is_no_summary_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "summary.json"
    file.write_text(content, "utf-8")
    with pytest.raises(BadInput, match="is not the summary of a run"):
        read_summary(file)


def test_numbers_have_six_digits_and_no_nan() -> None:
    content = synthetic.summary(tasks=1)
    content["tasks"][0]["prevalence"] = 0.123456789
    content["tasks"][0]["saturation"]["margin"] = float("nan")
    task = synthetic.typed(content).tasks[0]
    assert (task.prevalence, task.saturation.margin) == (0.123457, None)
