"""Secrets in settings: passwords in database URLs, and environment variables that hold them.

A run connects with the secret. What is written is `redacted` first, and errors redact themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from claimscale.errors import BadInput
from claimscale.redaction import redact

VARIABLE = re.compile(r"\$\{(\w+)\}")
Model = TypeVar("Model", bound=BaseModel)


def redacted(settings: Model) -> Model:
    """The settings as they may be written: no text in them holds a password."""
    return with_texts(settings, lambda text, place: redact(text))


def expanded(settings: Model, place: str) -> Model:
    """The settings with the values of environment variables in every text of them.

    Raises BadInput for a variable that is not set.
    """
    return with_texts(settings, expand, place)


def with_texts(settings: Any, change: Callable[[str, str], str], place: str = "") -> Any:
    """The settings with `change(text, place)` for every text in them, at any depth; keys stay."""
    if isinstance(settings, str):
        return change(settings, place)
    if isinstance(settings, BaseModel):
        names = type(settings).model_fields
        update = {name: with_texts(getattr(settings, name), change, f"{place}.{name}") for name in names}
        return settings.model_copy(update=update)
    if isinstance(settings, dict):
        return {key: with_texts(value, change, f"{place}.{key}") for key, value in settings.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(settings, list | tuple):
        return type(settings)(with_texts(value, change, place) for value in settings)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    return settings


def expand(text: str, place: str) -> str:
    """The text with `${NAME}` replaced by the environment variable NAME.

    A variable in the place of a URL's password is percent-encoded, so that it may hold any character.
    Raises BadInput, naming the place, for a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise BadInput(f"{place}: environment variable {match[1]} is not set")
        is_password = "://" in text[: match.start()] and text[match.end() :].startswith("@")
        found = os.environ[match[1]]
        return quote(found, safe="") if is_password and text[match.start() - 1] == ":" else found

    return VARIABLE.sub(value, text)
