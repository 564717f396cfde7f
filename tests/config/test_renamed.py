"""Old names of settings and values end in one line that gives the new name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from claimscale.config import loading, sources
from claimscale.config.base import Settings
from claimscale.config.renamed import SETTINGS, VALUES
from claimscale.config.study import Study
from claimscale.config.tasks import Exclusion, Task
from claimscale.errors import BadInput

LISTS = {"tasks", "tasks.exclude", "source.crosswalks"}
"""Settings that are lists of sections."""
SECTIONS = {"tasks": Task, "tasks.exclude": Exclusion, "source.crosswalks": sources.CodeCrosswalk}


def nested(setting: str, value: object) -> dict[str, object]:
    """A study file that gives one setting."""
    *parents, last = setting.split(".")
    found: dict[str, object] = {last: value}
    for depth in range(len(parents), 0, -1):
        section = ".".join(parents[:depth])
        found = {parents[depth - 1]: [found] if section in LISTS else found}
    return found


def problem(tmp_path: Path, data: dict[str, object]) -> str:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(data), "utf-8")
    with pytest.raises(BadInput) as caught:
        loading.load(file)
    text = str(caught.value)
    assert "\n" not in text, "one line"
    return text


def fields(section: str) -> dict[str, object]:
    if section in SECTIONS:
        return dict(SECTIONS[section].model_fields)
    if section == "source":
        return {**sources.SimulatedSource.model_fields, **sources.FileSource.model_fields}
    model: type[Settings] = Study
    for name in filter(None, section.split(".")):
        kind = model.model_fields[name].annotation
        [model] = [
            one
            for one in (kind, *getattr(kind, "__args__", ()))
            if isinstance(one, type) and issubclass(one, Settings)
        ]
    return dict(model.model_fields)


@pytest.mark.parametrize(("old", "new"), SETTINGS.items())
def test_an_old_setting_is_refused_with_the_new_name(old: str, new: str, tmp_path: Path) -> None:
    text = problem(tmp_path, nested(old, 1))
    shown = re.sub(r"\b(tasks|exclude|crosswalks)\.", r"\1.0.", old)
    assert text.endswith(f"study.yaml: {shown} is now {new}")


@pytest.mark.parametrize(("old", "new"), SETTINGS.items())
def test_the_new_name_exists_and_the_old_does_not(old: str, new: str) -> None:
    before, _, last = old.rpartition(".")
    section, _, name = new.rpartition(".")
    assert section == before
    assert name in fields(section) and last not in fields(section)


@pytest.mark.parametrize("old", SETTINGS)
def test_an_old_override_is_refused_with_the_new_name(old: str, write_study) -> None:
    with pytest.raises(BadInput, match=f"{old} is now {SETTINGS[old]}$"):
        loading.load(write_study(), [f"{old}=1"])


VALUE_CASES = [(setting, old, new) for setting, values in VALUES.items() for old, new in values.items()]


@pytest.mark.parametrize(("setting", "old", "new"), VALUE_CASES)
def test_an_old_value_is_refused_with_the_new_one(setting: str, old: str, new: str, tmp_path: Path) -> None:
    listed = setting == "baselines"
    text = problem(tmp_path, nested(setting, [old] if listed else old))
    assert text.endswith(f"{setting}{'.0' if listed else ''}: {old} is now {setting}: {new}")


def test_an_old_setting_with_an_old_value_gives_both(tmp_path: Path, write_study) -> None:
    expected = "tokens.repeats: ever is now tokens.deduplicate: history"
    assert problem(tmp_path, {"tokens": {"repeats": "ever"}}).endswith(expected)
    with pytest.raises(BadInput, match=expected):
        loading.load(write_study(), ["tokens={repeats: ever}"])


@pytest.mark.parametrize(("setting", "old", "new"), VALUE_CASES)
def test_new_values_are_accepted(setting: str, old: str, new: str, write_study) -> None:
    value = f"[lightgbm, {new}]" if setting == "baselines" else new
    extra = ["finetune.initialization=[pretrained]", "baselines=[lightgbm]"]
    loading.load(write_study(), [*extra, f"{setting}={value}"])


def test_no_old_name_is_forgotten() -> None:
    assert (len(SETTINGS), len(VALUES)) == (33, 5)
