"""The file of metrics."""

import json

import pytest

from claimscale.training.trainer import MetricsFile


def test_metrics_after_the_last_checkpoint_are_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = "".join(json.dumps({"step": step, "seconds": 2 * step}) + "\n" for step in range(5))
    file.write_text(lines + '{"step": 5, "lo')
    metrics = MetricsFile(file, 3)
    assert metrics.last == {"step": 2, "seconds": 4} and metrics.usage == {"step": 4, "seconds": 8}
    metrics.write(step=3, loss=1.5)
    metrics.close()
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]


def test_metrics_that_nobody_keeps_go_nowhere(tmp_path):
    nowhere = tmp_path / "null"
    nowhere.symlink_to("/dev/null")
    metrics = MetricsFile(nowhere)
    metrics.write(step=0)
    metrics.close()
    assert nowhere.is_symlink() and list(tmp_path.iterdir()) == [nowhere]


@pytest.mark.parametrize("rest", [b"{}\n", b"\xff\xfe\n", b"[1]\n", b"nul\n", b"\x00\x00"])
def test_metrics_file_ends_at_the_first_line_that_makes_no_sense(tmp_path, rest: bytes):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 0}\n' + rest + b'{"step": 1}\n')
    metrics = MetricsFile(file, 9)
    metrics.close()
    assert file.read_text() == '{"step": 0}\n' and metrics.last == metrics.usage == {"step": 0}
