from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claimscale import artifacts, run_lock
from claimscale.errors import BadInput


def test_a_folder_is_current_only_for_its_own_inputs(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    assert not artifacts.is_current(folder, "a")
    with artifacts.sealed_folder(folder, "a") as partial:
        (partial / "data.txt").write_text("x")
    assert artifacts.is_current(folder, "a")
    assert not artifacts.is_current(folder, "b")


def test_a_file_that_is_gone_or_cut_short_makes_its_folder_stale(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    with artifacts.sealed_folder(folder, "a") as partial:
        (partial / "data.txt").write_text("whole")
    (folder / "data.txt").write_text("who")
    assert not artifacts.is_current(folder, "a")
    (folder / "data.txt").unlink()
    assert not artifacts.is_current(folder, "a")


def test_an_error_leaves_no_part_and_keeps_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    with artifacts.sealed_folder(folder, "a") as partial:
        (partial / "data.txt").write_text("old")
    with pytest.raises(RuntimeError), artifacts.sealed_folder(folder, "b") as partial:
        (partial / "data.txt").write_text("new")
        raise RuntimeError
    assert (folder / "data.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def test_the_manifest_digest_follows_content(tmp_path: Path) -> None:
    digests = []
    for name, text in [("one", "x"), ("two", "x"), ("three", "y")]:
        with artifacts.sealed_folder(tmp_path / name, "inputs") as partial:
            (partial / "data.txt").write_text(text)
        digests.append(artifacts.manifest_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_a_cell_keeps_its_checkpoint_only_for_the_same_inputs(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "cell"
    artifacts.open_cell(folder, "a", {"id": "cell"})
    (folder / "checkpoint").write_text("weights")
    artifacts.open_cell(folder, "a", {"id": "cell"})
    assert (folder / "checkpoint").exists()
    artifacts.open_cell(folder, "b", {"id": "cell"})
    assert not (folder / "checkpoint").exists()
    assert artifacts.read_json(folder / artifacts.CELL)["inputs"] == "b"


def test_fingerprints_do_not_depend_on_the_order_of_settings() -> None:
    assert (
        artifacts.fingerprint(a=1, b=[2])
        == artifacts.fingerprint(b=[2], a=1)
        != artifacts.fingerprint(a=1, b=[3])
    )


def test_two_processes_cannot_work_in_one_run_directory(tmp_path: Path) -> None:
    with (
        run_lock.locked(tmp_path / "run"),
        pytest.raises(BadInput, match="another claimscale is at work"),
        run_lock.locked(tmp_path / "run"),
    ):
        pass
    with run_lock.locked(tmp_path / "run"):
        pass


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match=r"file/run: cannot be written"):
        artifacts.make_folder(tmp_path / "file" / "run")


def test_json_never_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        artifacts.write_json(tmp_path / "x.json", {"loss": float("nan")})


def test_only_the_user_can_read_a_run_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with run_lock.locked(tmp_path / "runs" / "study"):
            with artifacts.sealed_folder(tmp_path / "runs" / "study" / "events", "a") as partial:
                (partial / "data").mkdir()
                (partial / "data" / "0").write_text("x")
            artifacts.append_audit(tmp_path / "runs" / "study", "made")
        assert os.umask(0) == 0, "the process has its own umask again"
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "runs" / "study").rglob("*")}
    assert modes == {0o600, 0o700} and (tmp_path / "runs" / "study").stat().st_mode & 0o777 == 0o700


def test_scratch_of_killed_processes_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    live = f"{artifacts.SPARK_SCRATCH}{os.getpid()}-x"
    left = ("claimscale-ab12", f"{artifacts.SPARK_SCRATCH}{ended.pid}-x", "events.partial", live, "events")
    for name in left:
        (tmp_path / name / "data").mkdir(parents=True)
    with run_lock.locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", live, "events"]


@pytest.mark.parametrize("name", ["DONE.partial", "model.safetensors.partial"])
def test_what_a_kill_left_unfinished_is_in_no_manifest(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors").write_text("weights")
    (tmp_path / name).write_text("")
    artifacts.seal(tmp_path, "a")
    assert list(artifacts.read_manifest(tmp_path)["files"]) == ["model.safetensors"]
    assert artifacts.is_current(tmp_path, "a")


def test_every_file_is_flushed_before_the_manifest(tmp_path: Path, monkeypatch) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    (tmp_path / "data").mkdir()
    for name in ("data/0", "data/1", "text"):
        (tmp_path / name).write_text("x")
    artifacts.seal(tmp_path, "a")
    manifest = flushed.index("manifest.json.partial")
    assert {"0", "1", "text", "data"} <= set(flushed[:manifest]) and "DONE.partial" in flushed[manifest:]


def test_a_sealed_object_has_the_bytes_that_were_written(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    artifacts.write_sealed(file, {"risk": 0.25, "small": 1e-05, "name": "雪"})
    assert artifacts.read_sealed(file) == {"risk": 0.25, "small": 1e-05, "name": "雪"}
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
        assert artifacts.is_changed(file)
