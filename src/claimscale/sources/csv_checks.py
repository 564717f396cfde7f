"""Checks of CSV files before an engine parses them: encoding, NUL bytes, header."""

from __future__ import annotations

import codecs
import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from claimscale.artifacts import make_folder
from claimscale.errors import BadInput

BLOCK = 1 << 22


def checked(files: Sequence[Path], encoding: str, scratch: Path) -> list[Path]:
    """The files in UTF-8: the files themselves, or copies in `scratch` of files in another encoding.

    Raises BadInput for a file that is empty, is not of the encoding, holds NUL bytes, or repeats a column
    name.
    """
    ready: list[Path] = []
    for place, file in enumerate(files):
        copy = file
        if encoding == "utf-8":
            deque(_blocks(file, encoding), maxlen=0)
        else:
            make_folder(scratch)
            copy = scratch / f"{place:06d}.csv"
            with copy.open("w", encoding="utf-8", newline="") as stream:
                stream.writelines(_blocks(file, encoding))
        _check_header(copy, file)
        ready.append(copy)
    return ready


def _blocks(file: Path, encoding: str) -> Iterator[str]:
    """The text of the file in pieces. Raises BadInput where it cannot be decoded."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    try:
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                if b"\0" in block:
                    line = lines + block[: block.index(b"\0")].count(b"\n")
                    raise BadInput(f"{file}, line {line}: holds a NUL byte")
                try:
                    yield decoder.decode(block)
                except UnicodeDecodeError as error:
                    line = lines + error.object[: error.start].count(b"\n")
                    raise BadInput(f"{file}, line {line}: is not {encoding} text (source.encoding)") from None
                lines += block.count(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadInput(f"{file}: ends in the middle of a character") from None
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None


def _check_header(file: Path, named: Path) -> None:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        try:
            header = next(csv.reader(stream, strict=True), [])
        except csv.Error:
            raise BadInput(f"{named}, line 1: is no header of column names") from None
    if not header:
        raise BadInput(f"{named}: is empty")
    seen: set[str] = set()
    for name in header:
        if name.lower() in seen:
            raise BadInput(f"{named}, line 1: column {name!r} is repeated")
        seen.add(name.lower())
