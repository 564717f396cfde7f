"""What is left of English on a Japanese page, and every sentence that the code can put into a summary."""

from __future__ import annotations

import ast
import html
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import claimscale

SOURCE = Path(claimscale.__file__).parent
SAYING = (
    "validity",
    "summary/verdict_text.py",
    "summary/limitations.py",
    "summary/formatting.py",
    "training/checkpoints.py",
)
"""Modules whose sentences end up in a summary: findings, answers, warnings, what cells say of themselves."""
SILENT = ("validity/checks.py", "validity/inputs.py", "validity/finding.py")
"""Modules among them whose texts are titles, which another test knows, or are not shown."""
PLACES = {
    "what": ("new in the later", "gone from the later"),
    "more": (" and 3 more",),
    "told": ("the best reaches 0.71", "are not seen"),
    "listed": ("ICD10//N18, ATC//N02BF02",),
    "best": ("ICD10//N18",),
    "metric": ("AUPRC",),
    "METRIC_NAMES[metric]": ("AUPRC",),
    "name": ("AUPRC",),
    "missing[0].upper()": ("T",),
    "missing[1:]": ("raining was not repeated with twice the tokens",),
    "side": ("lowest", "highest"),
    "used": ("LightGBM",),
    "champion": ("101M pretrained",),
    "answered['recommendation']": ("LightGBM",),
    "asked": (
        "more seeds are needed, for training runs differ too much from each other",
        "so near that more data are unlikely to decide",
        "positives",
    ),
    "positives": ("72",),
    "count(positives)": ("72",),
    "having": ("2 of 900 in training and 3 of 900 in testing",),
    "found": ("nobody can be asked this question",),
    "_why_undecided(task)": ("only one size was trained",),
    "model": ("The pretrained 11M model",),
    "limit": ("", "; the 95 % interval reaches to 1,234", "; the 95 % interval begins at 1,234"),
    "spared": (
        "",
        "; it saves 178 hours of pretraining",
        "; it saves about 178 hours of pretraining against 101M, which was left out (estimated)",
    ),
    "unmeasured": ("", "; whether pretraining had converged was not measured"),
    "compared": ("what 101M adds to 32M, 0.004 (no interval) AUPRC,",),
    "'; '.join(damaged)": ("step 20: its tensors are missing; step 10: it cannot be read",),
    "consequence": ("went on from step 10", "started again from the beginning"),
}
"""What stands at places of the code whose values are words, in turn; at all others a number does."""
PARTS = (
    "; ",
    "alone reach",
    "are not seen",
    "new in the",
    "gone from the",
    "training was",
    "not every size",
    "what 1,234 adds",
    "The pretrained 1,234 model",
    "1,234 of 1,234 in",
    "about 1,234 of pretraining",
)
"""How texts begin that are told only within others, where PLACES has them."""
ALLOWED = (
    r"\b(?:finetune|pretrain|lightgbm)-[\w.-]+",
    r"\b(?:LightGBM|Transformer|Kaplan-Meier|Holm|Satterthwaite|CompleteP|claimscale)\b",
    r"\bMedical Event Data Standard\b|\bTRIPOD\+AI\b",
    r"\b[\w.]+\.(?:parquet|safetensors|json)\b",
    r"\b[a-z]+/(?:<id>/)?(?=\s|$)",
    r"\b[A-Z0-9]+//[\w.]+",
    r"\b\d[\d.]*[kMG]\b",
)
"""Proper names, files, codes and sizes: the same in every language."""
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
WORDS = re.compile(r"[A-Za-z]*[a-z]{2,}(?: +[A-Za-z']*[a-z]{1,})+")
WORD = re.compile(r"[A-Za-z]*[a-z]{3,}")
UNSEEN = r"<(script|style|pre)\b.*?</\1>|<ol class=\"references\">.*?</ol>"
SHOWN = r">([^<>]+)<|(?:aria-label|title)=\"([^\"]*)\""


def left(page: str, names: tuple[str, ...] = ()) -> list[str]:
    """English that a page shows: two words in a row anywhere, or one in a text without any Japanese.

    `names` are what users have called things.
    """
    page = re.sub(UNSEEN, "", page, flags=re.S)
    texts = {html.unescape(one or other).strip() for one, other in re.findall(SHOWN, page)}
    return sorted(text for text in texts if is_english(text, names))


def is_english(text: str, names: tuple[str, ...] = ()) -> bool:
    for known in (*ALLOWED, *map(re.escape, names)):
        text = re.sub(known, " ", text)
    return bool(WORDS.search(text) or (WORD.search(text) and not JAPANESE.search(text)))


def sentences() -> dict[str, list[str]]:
    """Where a text stands in the code, and the sentences that come of it with one value or another."""
    found = {}
    for name in SAYING:
        files = sorted((SOURCE / name).rglob("*.py")) if not name.endswith(".py") else [SOURCE / name]
        for file in files:
            where = file.relative_to(SOURCE).as_posix()
            if where not in SILENT:
                told = _texts(ast.parse(file.read_text("utf-8")))
                found |= {f"{where}:{line} {said[0]}": said for said, line in told}
    return found


def _texts(node: ast.AST) -> Iterator[tuple[list[str], int]]:
    """Texts of three words or more; documentation, and what is told only within another text, are none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        said = _said(child)
        if not said:
            yield from _texts(child)
        elif len(re.findall(r"[a-z]+ ", said[0])) >= 2 and not said[0].startswith(PARTS):
            yield said, getattr(child, "lineno", 0)


def _said(node: ast.AST) -> list[str]:
    """What a text of the code says; nothing where the node is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if not isinstance(node, ast.JoinedStr):
        return []
    parts: list[tuple[str, ...]] = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            parts.append(PLACES.get(ast.unparse(part.value), ("1,234",)))
        else:
            parts.append((str(ast.literal_eval(part)),))
    said = ["".join(chosen) for chosen in itertools.product(*parts)]
    return [f"pretrain-11M-s42: {one}" if one.startswith("A checkpoint") else one for one in said]
