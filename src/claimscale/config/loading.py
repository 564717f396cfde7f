"""The study file: reading with overrides, writing the resolved settings, and one line for the first error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from claimscale.config.renamed import refuse_old_names
from claimscale.config.secrets import redacted
from claimscale.config.study import Study
from claimscale.config.yaml_files import parse, read_mapping
from claimscale.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)


def load(path: Path, overrides: list[str] | None = None) -> Study:
    """Read a study file and apply `key.path=value` overrides.

    Raises BadInput with one line that names the file, the setting and the cause.
    """
    data = read_mapping(path)
    refuse_old_names(data, str(path))
    for override in overrides or []:
        _apply_override(data, override)
    return validated(Study, data, str(path))


def validated(model: type[Model], data: Mapping[str, object], place: str) -> Model:
    """The settings in `data`. Raises BadInput with one line on the first error."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"{place}: {_first_problem(error, model)}") from None


def dump(study: Study) -> str:
    """The resolved study as YAML, without passwords; `load` reads it back to an otherwise equal study."""
    return yaml.dump(redacted(study).model_dump(), Dumper=_ListDumper, sort_keys=False, allow_unicode=True)


class _ListDumper(yaml.SafeDumper):
    """Safe YAML that writes tuples as lists."""


_ListDumper.add_representer(tuple, yaml.SafeDumper.represent_list)  # pyright: ignore[reportUnknownMemberType]


def _apply_override(data: dict[str, object], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise BadInput(f"--set {override}: is not of the form key.path=value")
    *parents, last = key.split(".")
    value = parse(text, f"--set {override}")
    nested: Any = {last: value}
    for name in reversed(parents):
        nested = {name: nested}
    refuse_old_names(nested, f"--set {override}")
    place: Any = data
    for name in parents:
        place = place.setdefault(name, {}) if isinstance(place, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    if not isinstance(place, dict):
        raise BadInput(f"--set {override}: {'.'.join(parents)} holds no settings")
    place[last] = value


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """One line for the first problem: the path of the setting, then the cause.

    An unknown key comes first: mistyped, it is why another key is missing.
    """
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda one: one["type"] != "extra_forbidden")
    near = _near_settings(problem, model)
    others = len(problems) - 1
    others -= any(
        one["type"] == "missing" and one["loc"] == (*problem["loc"][:-1], *near) for one in problems
    )
    shown = [str(part) for part in problem["loc"] if part != "function-before"]
    if shown[:1] == ["source"]:
        del shown[1:2]  # pydantic adds the kind of source, which is no key of the file
    place = ".".join(shown)
    more = f" (and {others} more)" if others else ""
    cause = _cause(problem) + (f"; did you mean {near[0]}?" if near else "")
    return (f"{place}: {cause}" if place else cause) + more


def _near_settings(problem: ErrorDetails, model: type[BaseModel]) -> list[str]:
    """The setting of the file whose name is nearest to an unknown key, if one is near."""
    if problem["type"] != "extra_forbidden":
        return []
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    names = sorted({name for part in parts for name in part.get("properties", {})})
    return difflib.get_close_matches(str(problem["loc"][-1]), names, 1)


def _expected(context: Mapping[str, object]) -> list[str]:
    """The values that pydantic names as allowed, quoted and joined in words."""
    named = str(context.get("expected_tags") or context.get("expected"))
    return re.findall(r"'([^']*)'", named) or [named]


def _cause(problem: ErrorDetails) -> str:
    given, context = problem["input"], problem.get("ctx", {})
    match problem["type"]:
        case "extra_forbidden":
            return "unknown key"
        case "missing":
            return "is missing"
        case "union_tag_invalid":
            near = difflib.get_close_matches(str(context["tag"]), _expected(context), 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            return f"kind: {context['tag']!r} is none of {', '.join(_expected(context))}{meant}"
        case "union_tag_not_found":
            return "kind: is missing"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{given!r}: holds no settings (key: value)"
        case "list_type":
            return f"{given!r}: is no list, such as [a, b]"
        case "literal_error":
            return f"{given!r}: is none of {', '.join(_expected(context))}"
        case "date_type" | "date_parsing" | "date_from_datetime_parsing":
            return f"{given!r}: is not a date such as 2020-10-01"
        case "string_type" if isinstance(given, int | float):
            return f"{given}: is a number to YAML; put it in quotes, or digits are lost"
        case "value_error":
            return str(context["error"])
        case "greater_than":
            return f"{given} is not above {context['gt']:g}"
        case "less_than":
            return f"{given} is not below {context['lt']:g}"
        case _:
            message = problem["msg"]
            return f"{given!r}: {message[0].lower()}{message[1:]}"
