"""docs/study.md: its study file is valid, and its table has every setting, default and description."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from claimscale.config import loading
from claimscale.config.study import Study

PAGE = (Path(__file__).parents[2] / "docs" / "study.md").read_text("utf-8")


def settings(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{before}{name}.")
        else:
            yield before + name, field


def listed() -> dict[str, str]:
    return dict(re.findall(r"^\| `([\w.]+)` \| (?:`([^`]*)`|-) \|", PAGE, re.M))


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_every_setting_is_listed_once_in_order() -> None:
    assert list(listed()) == [name for name, _ in settings(Study)]
    assert len(re.findall(r"^\| `", PAGE, re.M)) == len(listed())


@pytest.mark.parametrize(
    ("name", "field"), list(settings(Study)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_defaults_are_those_of_the_code(name: str, field: FieldInfo) -> None:
    if field.is_required():
        assert listed()[name] == "", "a dash"
    else:
        assert yaml.safe_load(listed()[name]) == plain(field.get_default(call_default_factory=True))


@pytest.mark.parametrize(
    ("name", "field"), list(settings(Study)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_meanings_are_the_descriptions_of_the_code(name: str, field: FieldInfo) -> None:
    assert field.description is not None
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert f" | {' '.join(field.description.split())}" in row


def test_the_study_file_of_the_page_is_valid(tmp_path: Path) -> None:
    [text] = re.findall(r"^```yaml study\n(.*?)^```", PAGE, re.M | re.S)
    file = tmp_path / "first.yaml"
    file.write_text(text, "utf-8")
    study = loading.load(file, [])
    assert [task.name for task in study.tasks] == ["ckd", "pregabalin"]
