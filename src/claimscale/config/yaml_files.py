"""Reading YAML: a mapping of settings, with one clear error for whatever else the text holds."""

from __future__ import annotations

from collections.abc import Hashable
from importlib.resources.abc import Traversable
from typing import Any, cast

import yaml

from claimscale.errors import BadInput

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What PyYAML raises for a value that looks like a date or a number and is none, such as 2000-13-01."""


def read_mapping(file: Traversable) -> dict[str, Any]:
    """The keys and values of a YAML file. Raises BadInput if it is anything else."""
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadInput(f"{file}: is not UTF-8 text") from None
    data = parse(text, str(file))
    if not isinstance(data, dict):
        raise BadInput(f"{file}: contains no settings")
    return _with_text_keys(cast("dict[object, Any]", data), str(file))


def parse(text: str, place: str) -> object:
    """The value of a YAML text. Raises BadInput, which names `place`, the line and the cause."""
    try:
        return yaml.load(text, Loader=_SettingsLoader)
    except yaml.YAMLError as error:
        raise BadInput(f"{place}: is not valid YAML ({_problem(error)})") from None
    except RecursionError:
        raise BadInput(f"{place}: is not valid YAML (nested too deeply)") from None


def _with_text_keys(data: dict[object, Any], place: str) -> dict[str, Any]:
    for key in data:
        if not isinstance(key, str):
            raise BadInput(f"{place}: key {key!r} is not text")
    return cast("dict[str, Any]", data)


class _SettingsLoader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys, and reports every bad value with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return cast("object", super().construct_object(node, deep))  # pyright: ignore[reportUnknownMemberType]
        except UNREADABLE:
            kind = node.tag.rpartition(":")[2].replace("timestamp", "date")
            shown = f"{node.value!r} is not a valid {kind}" if isinstance(node, yaml.ScalarNode) else kind
            raise _error(shown, node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value if node.id == "mapping" else []
        for key_node, _ in pairs:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _error("a key is a list or a mapping", key_node)
            if key in seen:
                raise _error(f"duplicate key {key!r}", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark is not None else ""
    return place + str(getattr(error, "problem", None) or "unreadable").splitlines()[0]
