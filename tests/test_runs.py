from __future__ import annotations

from pathlib import Path

import pytest

from claimscale import runs
from claimscale.errors import BadInput


def test_a_folder_is_current_only_for_its_own_inputs(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    assert not runs.is_current(folder, "a")
    with runs.building(folder, "a") as partial:
        (partial / "data.txt").write_text("x")
    assert runs.is_current(folder, "a")
    assert not runs.is_current(folder, "b")


def test_a_file_that_is_gone_or_cut_short_makes_its_folder_stale(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    with runs.building(folder, "a") as partial:
        (partial / "data.txt").write_text("whole")
    (folder / "data.txt").write_text("who")
    assert not runs.is_current(folder, "a")
    (folder / "data.txt").unlink()
    assert not runs.is_current(folder, "a")


def test_an_error_leaves_neither_a_new_folder_nor_a_part_and_keeps_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    with runs.building(folder, "a") as partial:
        (partial / "data.txt").write_text("old")
    with pytest.raises(RuntimeError), runs.building(folder, "b") as partial:
        (partial / "data.txt").write_text("new")
        raise RuntimeError
    assert (folder / "data.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def test_the_manifest_digest_follows_content(tmp_path: Path) -> None:
    digests = []
    for name, text in [("one", "x"), ("two", "x"), ("three", "y")]:
        with runs.building(tmp_path / name, "inputs") as partial:
            (partial / "data.txt").write_text(text)
        digests.append(runs.manifest_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_a_cell_folder_keeps_its_checkpoint_for_the_same_inputs_and_loses_it_for_others(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "cell"
    runs.open_cell(folder, "a", {"id": "cell"})
    (folder / "checkpoint").write_text("weights")
    runs.open_cell(folder, "a", {"id": "cell"})
    assert (folder / "checkpoint").exists()
    runs.open_cell(folder, "b", {"id": "cell"})
    assert not (folder / "checkpoint").exists()
    assert runs.read_json(folder / runs.CELL)["inputs"] == "b"


def test_fingerprints_do_not_depend_on_the_order_of_settings() -> None:
    assert runs.fingerprint(a=1, b=[2]) == runs.fingerprint(b=[2], a=1) != runs.fingerprint(a=1, b=[3])


def test_changed_code_changes_its_digest_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model", "corpus"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("1")
    monkeypatch.setattr(runs.importlib.resources, "files", lambda package: tmp_path)
    before = runs.code_digest("model"), runs.code_digest("corpus")
    (tmp_path / "model" / "a.py").write_text("2")
    after = runs.code_digest("model"), runs.code_digest("corpus")
    assert before[0] != after[0] and before[1] == after[1]


def test_two_processes_cannot_work_in_one_run_directory(tmp_path: Path) -> None:
    with (
        runs.locked(tmp_path / "run"),
        pytest.raises(BadInput, match="another claimscale is at work"),
        runs.locked(tmp_path / "run"),
    ):
        pass
    with runs.locked(tmp_path / "run"):
        pass


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match=r"file/run: cannot be written"):
        runs.make_folder(tmp_path / "file" / "run")


def test_json_never_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        runs.write_json(tmp_path / "x.json", {"loss": float("nan")})
