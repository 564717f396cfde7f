"""Secrets in settings: passwords in database URLs, and environment variables that hold them.

A run connects with the secret. Everything that is written or printed uses `redact` or `redacted` first.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote

from claimscale.config.sources import FileSource
from claimscale.config.study import Study
from claimscale.errors import BadInput

HIDDEN = "***"
PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):(?!\$\{\w+\}@)(.*)@")
"""User and password of a URL. The last @ ends the password, which may contain others."""
PARAMETER = re.compile(r"([?&;]\w*(?:password|passwd|pwd|token|secret|key)\w*=)(?!\$\{\w+\})([^&;\s]*)", re.I)
VARIABLE = re.compile(r"\$\{(\w+)\}")


def redact(text: str, url: str = "") -> str:
    """The text without the passwords of the URLs in it, and without those of `url`.

    >>> redact("postgres://reader:secret@host/cdm"), redact("no user secret", "postgres://reader:secret@host")
    ('postgres://reader:***@host/cdm', 'no user ***')
    >>> redact("postgres://reader:${PASSWORD}@host/cdm")
    'postgres://reader:${PASSWORD}@host/cdm'
    """
    found = [match[2] for pattern in (PASSWORD, PARAMETER) for match in pattern.finditer(url)]
    for secret in sorted({*found, *map(unquote, found)} - {""}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return PARAMETER.sub(rf"\g<1>{HIDDEN}", PASSWORD.sub(rf"\g<1>:{HIDDEN}@", text))


def redacted(study: Study) -> Study:
    """The study as it may be written: without the password in `source.path`."""
    if not isinstance(study.source, FileSource):
        return study
    source = study.source.model_copy(update={"path": redact(study.source.path)})
    return study.model_copy(update={"source": source})


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
