"""The files of a model package, checked before anything in them is used.

A package may come from anywhere. Only files that the manifest names are read, with the suffixes of data (no
pickle, no code), below a size, and without links; their checksums must match. A checksum shows damage, not
who wrote a package.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from claimscale.artifacts import MANIFEST, is_changed
from claimscale.checksums import file_digest, file_digests
from claimscale.errors import BadInput

CONFIG, VOCABULARY, CALIBRATION, REFERENCE, EVIDENCE, CARD = (
    "config.json",
    "vocabulary.parquet",
    "calibration.json",
    "reference.json",
    "evidence.json",
    "README.md",
)
"""The files of a package, beside one folder per model."""
WEIGHTS = "model.safetensors"
"""The weights of an encoder, in its folder."""
LARGEST_JSON = 16 << 20
LARGEST_HEADER = 8 << 20
"""Bytes of a JSON file, and of the header of a safetensors file."""
MOST_FILES = 512
SUFFIXES = (".json", ".parquet", ".safetensors", ".txt", ".md")
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def check_files(folder: Path) -> None:
    """Raises BadInput unless the folder holds exactly the files of its manifest, undamaged and harmless."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such model package")
    present = {path.relative_to(folder).as_posix(): path for path in _all_paths(folder)}
    if MANIFEST not in present:
        raise BadInput(f"{folder}: is not a model package ({MANIFEST} is missing)")
    listed = _listed(folder / MANIFEST)
    missing = sorted(set(listed) - set(present))
    if missing:
        raise BadInput(f"{folder / missing[0]}: is missing from the model package")
    extra = sorted(set(present) - set(listed) - {MANIFEST})
    if extra:
        raise BadInput(f"{folder / extra[0]}: does not belong to the model package")
    for name, (size, digest) in listed.items():
        file = folder / name
        if file.stat().st_size != size or file_digest(file) != digest:
            raise BadInput(f"{file}: is damaged (its checksum differs)")
        if file.suffix == ".safetensors":
            _check_header(file)
    if is_changed(folder / MANIFEST):
        raise BadInput(f"{folder / MANIFEST}: is damaged (its checksum differs)")


def damaged_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of a package, and those of them that are missing, changed, or do not belong to it.

    Raises BadInput for a folder that cannot be a package.
    """
    present = {path.relative_to(folder).as_posix(): path for path in _all_paths(folder)}
    listed = _listed(folder / MANIFEST)
    names = sorted(listed.keys() | (present.keys() - {MANIFEST}))
    digests = file_digests([folder / name for name in names])
    found = dict(zip(names, digests, strict=True))
    damaged = [folder / MANIFEST] if is_changed(folder / MANIFEST) else []
    damaged += [folder / name for name in names if name not in listed or found[name] != listed[name][1]]
    return [folder / MANIFEST, *(folder / name for name in names)], damaged


def read_json_file(file: Path) -> Any:
    """The content of a JSON file of a package. Raises BadInput if it is too large, too deep or no JSON."""
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise BadInput(f"{file}: is larger than {LARGEST_JSON >> 20} MiB")
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None


def _all_paths(folder: Path) -> list[Path]:
    """All files below the folder. Raises BadInput for links, and for anything that is no plain file."""
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        for path in waiting.pop().iterdir():
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BadInput(f"{path}: is a link or a special file, which a model package cannot hold")
            if path.is_dir():
                waiting.append(path)
            else:
                found.append(path)
            if len(found) + len(waiting) > MOST_FILES:
                raise BadInput(f"{folder}: holds more than {MOST_FILES} files")
    return found


def _listed(manifest: Path) -> dict[str, tuple[int, str]]:
    """Size and digest of each file of the manifest. Raises BadInput for a name that leaves the folder."""
    content = read_json_file(manifest)
    try:
        listed = {
            name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in content["files"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadInput(f"{manifest}: is no manifest of a model package") from None
    for name in listed:
        if not all(PART.fullmatch(part) for part in name.split("/")) or Path(name).suffix not in SUFFIXES:
            raise BadInput(f"{manifest}: {name[:80]!r} cannot be a file of a model package")
    return listed


def _check_header(file: Path) -> None:
    """Raises BadInput for a safetensors file whose header is longer than the file or than LARGEST_HEADER."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if size < 8 or header > min(size - 8, LARGEST_HEADER):
        raise BadInput(f"{file}: has no header of a safetensors file")
