"""Every module that a result may depend on makes it stale, or stands here with the reason why not."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import pytest

import claimscale
from claimscale.conclusion import SUMMARY_CODE
from claimscale.study import ON_EMBEDDINGS, Baseline
from claimscale.sweep.cells import Cell
from claimscale.sweep.workspace import code_of

PACKAGE = Path(claimscale.__file__).parent
HARMLESS = {
    "runs.py": "writes files and fingerprints; a result is the same wherever it lies",
    "errors.py": "what is said of bad input",
    "study.py": "types of settings, whose values are in the fingerprint",
    "sweep/cells.py": "what cells there are; each is in its own fingerprint",
    "sweep/workspace.py": "the fingerprint itself, and what cells cost",
    "corpus/cohort.py": "makes a stage, whose files are in the fingerprint",
    "corpus/events.py": "makes a stage, whose files are in the fingerprint",
    "corpus/tasks.py": "makes a stage, whose files are in the fingerprint",
    "engine/__init__.py": "makes stages, whose files are in the fingerprint",
}
ONLY_BASELINES = {"baselines": "no encoder is trained with it"}
ONLY_ENCODERS = {
    "training": "this baseline has no encoder, and what it costs is no part of its predictions",
    "model": "this baseline has no encoder",
    "corpus/views.py": "this baseline has no encoder",
    "corpus/codebook.py": "this baseline has no encoder",
    "corpus/sequences.py": "this baseline has no encoder",
}
NOT_OF_THE_SUMMARY = {
    "runs.py": "writes files and fingerprints",
    "errors.py": "what is said of bad input",
    "study.py": "types of settings, whose values are in the fingerprint",
    "sweep/cells.py": "what cells there are; the fingerprint names them",
}
CELLS = [
    Cell("pretrain", 42, "70k"),
    Cell("sweep", 42, "70k"),
    Cell("finetune", 42, "70k", "ckd", "pretrained", "all"),
    *(
        Cell(kind, 42, "70k" if kind in ON_EMBEDDINGS else None, "ckd", None, "all")
        for kind in get_args(Baseline)
    ),
]


def imported(file: Path) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it: paths below the package."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, f"{file}: a relative import"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in below if module_file(name)]
            names = modules if len(modules) == len(below) else [node.module, *modules]
        for name in names:
            found = module_file(name)
            if found is not None:
                yield found


def module_file(name: str) -> str | None:
    package, *parts = name.split(".")
    if package != "claimscale" or not parts:
        return None
    place = PACKAGE.joinpath(*parts)
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.exists():
            return file.relative_to(PACKAGE).as_posix()
    return None


def within(module: str, places: Iterable[str]) -> bool:
    return any(module == place or module.startswith(f"{place}/") for place in places)


def reached(harmless: Iterable[str], start: str = "sweep/work.py") -> set[str]:
    """What a module imports, directly or by way of modules that are not harmless."""
    found, left = set[str](), [start]
    while left:
        module = left.pop()
        if module in found:
            continue
        found.add(module)
        if not within(module, harmless):
            left += imported(PACKAGE / module)
    return found


def code_and_harmless(cell: Cell) -> tuple[set[str], set[str]]:
    parts = cell.needs if cell.kind == "encoder_and_lightgbm" else (cell,)
    code = {place for part in parts for place in code_of(part)}
    harmless = {**HARMLESS}
    if "baselines" not in code:
        harmless |= ONLY_BASELINES
    if "training" not in code:
        harmless |= ONLY_ENCODERS
    return code, set(harmless)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.kind)
def test_whatever_a_cell_imports_makes_it_stale_or_has_a_reason_not_to(cell: Cell) -> None:
    code, harmless = code_and_harmless(cell)
    modules = reached(harmless)
    assert len(modules) > 15, "the walk goes on beyond work.py"
    assert sorted(module for module in modules if not within(module, code | harmless)) == []
    assert sorted(place for place in code if not (PACKAGE / place).exists()) == []


def test_no_reason_is_left_of_a_module_that_nothing_imports() -> None:
    used = set().union(*(reached(code_and_harmless(cell)[1]) for cell in CELLS))
    assert sorted(place for place in HARMLESS if place not in used) == []


def test_baselines_themselves_use_nothing_that_only_encoders_do() -> None:
    modules = {module for file in (PACKAGE / "baselines").glob("*.py") for module in imported(file)}
    assert sorted(module for module in modules if within(module, ONLY_ENCODERS)) == []


@pytest.mark.parametrize(
    "module",
    ["corpus/random_draws.py", "corpus/salted_hash.py", "corpus/vocabulary.py", "sweep/prepared.py"],
)
def test_what_draws_chooses_and_names_patients_and_codes_makes_encoders_stale(module: str) -> None:
    for cell in CELLS[:3]:
        assert within(module, code_of(cell))


def test_whatever_a_summary_imports_makes_it_stale_or_has_a_reason_not_to() -> None:
    modules = reached(NOT_OF_THE_SUMMARY, "report/summary.py")
    assert {"report/auroc_gains.py", "evaluation/saturation.py"} < modules
    assert sorted(one for one in modules if not within(one, {*SUMMARY_CODE, *NOT_OF_THE_SUMMARY})) == []
    assert sorted(place for place in SUMMARY_CODE if not (PACKAGE / place).exists()) == []
    assert sorted(place for place in NOT_OF_THE_SUMMARY if place not in modules) == []
