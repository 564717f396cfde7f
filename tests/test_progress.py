from __future__ import annotations

import io

import pytest
from rich.console import Console

from claimscale.progress import LiveBar, PlainLines, duration


def test_plain_lines_are_few_and_the_last_one_always_shows() -> None:
    stream = io.StringIO()
    with PlainLines(stream, interval=3600) as display:
        for step in range(100):
            display.update(step / 100, 100.0 - step, f"step {step}")
        display.update(1.0, 0.0, "done")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "1 min 40 s left" in lines[0] and lines[1].startswith("100%") and lines[1].endswith("done")


def test_the_live_bar_shows_work_and_time_left() -> None:
    stream = io.StringIO()
    with LiveBar(Console(file=stream, force_terminal=True, width=120)) as display:
        display.update(0.25, 90.0, "pretrain-80k-s42 [50%]")
    assert "1 min 30 s left" in stream.getvalue() and "pretrain-80k-s42 [50%]" in stream.getvalue()


@pytest.mark.parametrize("seconds", [0, 0.4, 59.9, 61, 3599, 3601, 90_000])
def test_durations_are_rounded_up_never_down(seconds: float) -> None:
    units = {"h": 3600, "min": 60, "s": 1}
    words = duration(seconds).split()
    shown = sum(int(n) * units[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    assert shown >= seconds - 60 * ("h" in words)
    assert shown - seconds <= 1 or "h" in words
