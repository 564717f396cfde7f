"""The study file: reading it with overrides, writing the resolved settings, telling what is wrong with it."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from claimscale.config.study import Study
from claimscale.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)


def load(path: Path, overrides: list[str] | None = None) -> Study:
    """Read a study file and apply `key.path=value` overrides.

    Raises BadInput with one line that names the file, the path in it and the cause.
    """
    data = read_mapping(path)
    for override in overrides or []:
        _apply_override(data, override)
    return validated(Study, data, str(path))


def read_mapping(path: Traversable) -> dict[str, Any]:
    """A YAML file of keys and values. Raises BadInput if it is anything else."""
    try:
        data = yaml.load(path.read_text("utf-8"), Loader=_StudyLoader)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: is not YAML ({_yaml_place(error)})") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: holds no settings")
    return data


def validated(model: type[Model], data: dict[str, Any], place: str) -> Model:
    """The settings that the data stand for. Raises BadInput with one line on what is wrong first."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"{place}: {_first_problem(error)}") from None


def dump(study: Study) -> str:
    """The resolved study as YAML; `load` reads it back to an equal study."""
    return yaml.dump(study.model_dump(), Dumper=_ListDumper, sort_keys=False, allow_unicode=True)


class _ListDumper(yaml.SafeDumper):
    """Safe YAML that writes tuples as lists."""


_ListDumper.add_representer(tuple, yaml.SafeDumper.represent_list)


class _StudyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, instead of silently keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise BadInput(f"--set {override}: is not of the form key.path=value")
    *parents, last = key.split(".")
    place: Any = data
    for name in parents:
        place = place.setdefault(name, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise BadInput(f"--set {override}: {'.'.join(parents)} holds no settings")
    try:
        place[last] = yaml.load(text, Loader=_StudyLoader)
    except yaml.YAMLError:
        raise BadInput(f"--set {override}: the value is not YAML") from None


def _yaml_place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark is not None else ""
    return place + str(getattr(error, "problem", None) or "unreadable")


def _first_problem(error: ValidationError) -> str:
    """One line for the first problem: the path in the file, then the cause."""
    problem = error.errors(include_url=False)[0]
    shown = [str(part) for part in problem["loc"] if part != "function-before"]
    if shown[:1] == ["source"]:
        del shown[1:2]  # pydantic names the kind of source, which is no key of the file
    place = ".".join(shown)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    cause = _cause(problem)
    return (f"{place}: {cause}" if place else cause) + more


def _cause(problem: Any) -> str:
    given = problem["input"]
    match problem["type"]:
        case "extra_forbidden":
            return "unknown key"
        case "missing":
            return "is missing"
        case "value_error":
            return str(problem["ctx"]["error"])
        case "greater_than" | "less_than" if problem["ctx"].keys() & {"gt", "lt"}:
            limit = problem["ctx"].get("gt", problem["ctx"].get("lt"))
            return f"{given} is not {'above' if 'gt' in problem['ctx'] else 'below'} {limit:g}"
        case _:
            message = problem["msg"]
            return f"{given!r}: {message[0].lower()}{message[1:]}"
