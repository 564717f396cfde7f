from __future__ import annotations

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
