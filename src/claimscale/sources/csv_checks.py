"""Checks of CSV files before an engine parses them: encoding, NUL bytes, header, delimiter."""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from claimscale.artifacts import make_folder
from claimscale.engine.csv_files import open_text
from claimscale.errors import BadInput

BLOCK = 1 << 22
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class CheckedFiles(NamedTuple):
    """The arguments of `Engine.read_csv`."""

    files: list[Path]
    delimiter: str
    named: Sequence[Path]


def checked(files: Sequence[Path], encoding: str, scratch: Path) -> CheckedFiles:
    """The files in UTF-8: the files themselves, or copies in `scratch` of files in another encoding.

    The delimiter is that of the header with the most columns. Raises BadInput for a file that is empty, is
    not of the encoding, holds NUL bytes, repeats a column name, or has another delimiter than the first.
    """
    ready: list[Path] = []
    delimiters: list[str] = []
    for place, file in enumerate(files):
        copy = file
        if encoding == "utf-8":
            deque(_blocks(file, encoding), maxlen=0)
        else:
            make_folder(scratch)
            copy = scratch / f"{place:06d}.csv"
            with copy.open("w", encoding="utf-8", newline="") as stream:
                stream.writelines(_blocks(file, encoding))
        delimiters.append(_check_header(copy, file))
        if delimiters[-1] != delimiters[0]:
            one, other = (DELIMITERS[found] for found in (delimiters[0], delimiters[-1]))
            raise BadInput(f"{file}: has {other} between its columns, and {files[0].name} has {one}")
        ready.append(copy)
    return CheckedFiles(ready, delimiters[0], files)


def _open_bytes(file: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(file, "rb") if file.suffix.lower() == ".gz" else file.open("rb")


def _blocks(file: Path, encoding: str) -> Iterator[str]:
    """The text of the file in pieces. Raises BadInput where it cannot be decoded."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    try:
        with _open_bytes(file) as stream:
            while block := stream.read(BLOCK):
                try:
                    text = decoder.decode(block)
                except UnicodeDecodeError as error:
                    line = lines + error.object[: error.start].count(b"\n")
                    raise BadInput(f"{file}, line {line}: is not {encoding} text (source.encoding)") from None
                if "\0" in text:
                    line = lines + text[: text.index("\0")].count("\n")
                    raise BadInput(f"{file}, line {line}: holds a NUL byte")
                yield text
                lines += text.count("\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadInput(f"{file}: ends in the middle of a character") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BadInput(f"{file}: is no gzip file, or is cut off") from None
    except UnicodeError:  # no byte order mark
        raise BadInput(f"{file}: is not {encoding} text (source.encoding)") from None
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None


def _check_header(file: Path, named: Path) -> str:
    """The delimiter of the file."""
    headers: dict[str, list[str]] = {}
    with open_text(file) as stream:
        for delimiter in DELIMITERS:
            stream.seek(0)
            try:
                headers[delimiter] = next(csv.reader(stream, delimiter=delimiter, strict=True), [])
            except csv.Error:
                continue
    if not headers:
        raise BadInput(f"{named}, line 1: is no header of column names")
    delimiter = max(headers, key=lambda one: len(headers[one]))
    if not headers[delimiter]:
        raise BadInput(f"{named}: is empty")
    seen: set[str] = set()
    for name in headers[delimiter]:
        if name.strip().lower() in seen:
            raise BadInput(f"{named}, line 1: column {name!r} is repeated")
        seen.add(name.strip().lower())
    return delimiter


def has_quoted_header(file: Path) -> bool:
    """Whether the first line of a checked file quotes a column name."""
    with open_text(file) as stream:
        return '"' in stream.readline()
