"""Hides passwords and tokens in a text: those of URLs, of their parameters, and of connection strings."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
SHORT = 4
"""Passwords with fewer characters are hidden where they stand alone."""
PASSWORD = re.compile(r"(?<=:/)(/?[^:/\s]*):(?!\$\{\w+\}@)(.*)@")
"""User and password of a URL. The last @ ends the password, which may contain others; a user may contain one
too (reader@server). Paths of files write the two slashes as one."""
VALUE = r"""'(?:[^'\\]|\\.)*'|"[^"]*"|[^&;\s]*"""
NAMES = "password|passwd|passphrase|pwd|token|secret|key|credential|signature"
PARAMETER = re.compile(rf"([?&;](?:\w*(?:{NAMES})\w*|pass|pw|sig|auth)=)(?!\$\{{\w+\}})({VALUE})", re.I)
"""A parameter of a URL, or of a connection string with semicolons."""
KEYWORD = re.compile(rf"((?:^|(?<=[\s.'\"]))(?:\w*password|passwd|pwd)\s*=\s*)(?!\$\{{\w+\}})({VALUE})", re.I)
"""A word of a connection string with blanks, such as `host=cdm password=x`."""


def redact(text: str, url: str = "") -> str:
    """The text without the passwords of the URLs in it, and without those of `url`.

    >>> redact("postgres://reader:secret@host/cdm"), redact("no user secret", "postgres://reader:secret@host")
    ('postgres://reader:***@host/cdm', 'no user ***')
    >>> redact("postgres://reader:${PASSWORD}@host/cdm"), redact("host=cdm password=secret")
    ('postgres://reader:${PASSWORD}@host/cdm', 'host=cdm password=***')
    """
    found = [match[2] for pattern in (PASSWORD, PARAMETER, KEYWORD) for match in pattern.finditer(url)]
    for secret in sorted({*found, *map(unquote, found)} - {""}, key=len, reverse=True):
        # A short one is also a part of other words.
        pattern = re.escape(secret) if len(secret) >= SHORT else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(pattern, HIDDEN, text)
    text = PASSWORD.sub(rf"\g<1>:{HIDDEN}@", text)
    return KEYWORD.sub(rf"\g<1>{HIDDEN}", PARAMETER.sub(rf"\g<1>{HIDDEN}", text))
