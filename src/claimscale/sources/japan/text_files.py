"""Japanese claim files as lines of text: CP932, ended by CRLF or LF, checked block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from claimscale.errors import BadInput
from claimscale.sources.japan.masters import ENCODING

BLOCK = 1 << 20
LONGEST_LINE = 1 << 20
"""Bytes. A record has some hundreds; the limit bounds the memory."""
UTF8_MARK = b"\xef\xbb\xbf"
END_OF_FILE = b"\x1a"
"""The byte that DOS programs write after the last line."""


def blocks_of(file: Path) -> Iterator[bytes]:
    """The bytes of the file in pieces. Raises BadInput if it cannot be read."""
    try:
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None


def lines_of(place: str, blocks: Iterable[bytes]) -> Iterator[tuple[int, list[str]]]:
    """Runs of whole lines without their ends, each with the number of its first line, from 1.

    Raises BadInput, naming the place and the line, for bytes that are not CP932, a NUL byte, a carriage
    return within a line, and a line that is too long.
    """
    number, rest = 1, b""
    for block in blocks:
        rest += block
        if number == 1 and rest.startswith(UTF8_MARK):
            raise BadInput(f"{place}, line 1: begins with a UTF-8 mark; Japanese claim files are CP932")
        end = rest.rfind(b"\n") + 1
        # Neither byte of a CP932 character can be a line feed, so lines may be cut before decoding.
        whole, rest = rest[:end], rest[end:]
        if whole:
            lines = _decoded(place, whole, number).split("\n")[:-1]
            yield number, lines
            number += len(lines)
        if len(rest) > LONGEST_LINE:
            raise BadInput(f"{place}, line {number}: is longer than any record")
    if rest := rest.rstrip(END_OF_FILE):
        yield number, [_decoded(place, rest, number).rstrip("\r")]


def _decoded(place: str, content: bytes, number: int) -> str:
    if (zero := content.find(b"\0")) >= 0:
        raise BadInput(f"{place}, line {number + content[:zero].count(10)}: holds a NUL byte")
    try:
        text = content.decode(ENCODING)
    except UnicodeDecodeError as error:
        line = number + content[: error.start].count(10)
        raise BadInput(f"{place}, line {line}: is not text in CP932") from None
    text = text.replace("\r\n", "\n")
    inner = text.rstrip("\r").find("\r")
    if inner >= 0:
        line = number + text[:inner].count("\n")
        raise BadInput(f"{place}, line {line}: holds a carriage return within the line")
    return text
