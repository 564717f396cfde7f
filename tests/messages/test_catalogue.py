"""The catalogue of messages: complete in every language, used, and rendered with typed placeholders."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import claimscale
from claimscale.findings import LANGUAGES, Finding, catalogue, finding, placeholders, sentences

PACKAGE = Path(claimscale.__file__).parent


def codes_in_source() -> Iterator[str]:
    """Every string of the package: codes are written out, never put together."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_have_the_same_codes_and_placeholders(language: str) -> None:
    english, other = catalogue("en"), catalogue(language)
    assert other.keys() == english.keys()
    for code, message in english.items():
        assert sorted(set(placeholders(other[code]))) == sorted(set(placeholders(message))), code


def calls() -> Iterator[tuple[str, set[str]]]:
    """Every `finding("code", name=...)` of the package: its code and the names of its parameters."""
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text("utf-8")
        for node in ast.walk(ast.parse(text)) if "from claimscale.findings import" in text else ():
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "finding" and isinstance(node.args[0], ast.Constant):
                names = {keyword.arg or "**" for keyword in node.keywords}
                yield str(node.args[0].value), names


def test_every_code_in_the_source_has_a_message() -> None:
    for code, names in calls():
        assert code in catalogue("en"), code
        if "**" not in names:
            assert names == {name for name, _ in placeholders(catalogue("en")[code])}, code


def test_every_message_is_used() -> None:
    used = set(codes_in_source())
    assert [code for code in catalogue("en") if code not in used] == []


def test_findings_survive_json() -> None:
    inner = finding("limitation.few_positives", n=np.int64(12), limit=100)
    outer = finding("limitation.of_task", task="ckd", finding=inner)
    assert Finding.model_validate_json(outer.model_dump_json()) == outer
    assert outer.model_dump()["text"] == outer.text
    gain = {"estimate": 0.1, "low": None, "high": None}
    whole = finding("answer.borderline", larger="2M", smaller="1M", gain=gain, metric="AUPRC", margin=0.01)
    assert Finding.model_validate_json(whole.model_dump_json()).text == whole.text
    assert "0.100 (no interval)" in whole.text


def test_with_counts_changes_only_numbers_of_patients() -> None:
    inner = finding("limitation.few_positives", n=3, limit=5)
    outer = finding("limitation.of_task", task="3", finding=inner)
    hidden = sentences([outer, outer]).with_counts(lambda n: "<10" if n < 10 else n)
    assert hidden.text.count("Only <10 test patients") == 2 and "fewer than 5" in hidden.text
    assert "Only 3" in outer.text


def test_a_missing_parameter_is_an_error() -> None:
    with pytest.raises(KeyError):
        _ = finding("limitation.few_positives", n=3).text
    with pytest.raises(KeyError):
        _ = finding("limitation.unheard_of").text
