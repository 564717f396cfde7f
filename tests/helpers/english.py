"""English that is left on a Japanese page."""

from __future__ import annotations

import html
import re

ALLOWED = (
    r"\b(?:finetune|pretrain|lightgbm)-[\w.-]+",
    r"\b(?:LightGBM|Transformer|Kaplan-Meier|Holm|Satterthwaite|CompleteP|LoRA|JavaScript|claimscale)\b",
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
