"""Damages to the files of a run, which keep the size and the time of a file where they can."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, random.Random], None]


def flip_a_bit(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    _write(file, bytes(content))


def zero_a_block(file: Path, draw: random.Random) -> None:
    """Zeros for up to 512 bytes, as a lost sector leaves them; where they are zero already, ones."""
    content = bytearray(file.read_bytes())
    start = draw.randrange(len(content))
    block = content[start : start + 512]
    content[start : start + 512] = bytes(len(block)) if any(block) else b"\xff" * len(block)
    _write(file, bytes(content))


def change_a_digit(file: Path, draw: random.Random) -> None:
    """Another digit for one that is there; in a file without digits another byte."""
    content = bytearray(file.read_bytes())
    digits = [place for place, byte in enumerate(content) if 48 <= byte <= 57] or [0]
    place = draw.choice(digits)
    content[place] = draw.choice([byte for byte in range(48, 58) if byte != content[place]])
    _write(file, bytes(content))


def swap_two_blocks(file: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    half = len(content) // 2
    swapped = content[half : 2 * half] + content[:half] + content[2 * half :]
    _write(file, swapped if swapped != content else content[::-1])


def truncate(file: Path, draw: random.Random) -> None:
    with file.open("r+b") as stream:
        stream.truncate(draw.randrange(file.stat().st_size))


def append(file: Path, draw: random.Random) -> None:
    with file.open("ab") as stream:
        stream.write(b" ")


def delete(file: Path, draw: random.Random) -> None:
    file.unlink()


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (flip_a_bit, zero_a_block, change_a_digit, swap_two_blocks, truncate, append, delete)
}


def swap(one: Path, other: Path) -> None:
    """Two files or folders in each other's place."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def restore(file: Path, original: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    shutil.copyfile(original, file)


def _write(file: Path, content: bytes) -> None:
    """Write in place; size and time stay, as a disk would leave them."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
