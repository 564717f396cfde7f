"""A stored run gives the stored summary, data behind every figure and pages, unless a version was raised.

After a wanted change, `CLAIMSCALE_GOLDEN=write pytest tests/summary/test_golden.py` stores all files anew;
the difference between old and new is then to be read before it is committed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import synthetic
from golden_outputs import check_golden

from claimscale.report import figures, page
from claimscale.report.i18n import Texts
from claimscale.report.page_data import view
from claimscale.versions import VERSIONS

SUMMARY, FIGURES, PAGES = (
    Path(__file__).with_name(f"golden_{name}.json") for name in ("summary", "figures", "pages")
)
WRITE = os.environ.get("CLAIMSCALE_GOLDEN") == "write"
SIZES = ("100k", "200k", "400k", "800k")
LINE = 240


def golden_run(fake_run: Callable[..., Any], folder: Path) -> Any:
    """Two questions by four sizes, whose pretraining was also scored after fewer tokens."""
    run = fake_run(
        folder,
        patients=900,
        sizes=SIZES,
        labelled=(300, 1000),
        compare={"bootstrap_replicates": 100},
    )
    run.pretraining = [with_cooldowns(trained) for trained in run.pretraining]
    for trained in run.pretraining:
        trained["metrics"] = folder / f"{trained['size']}.jsonl"
        steps = [{"tokens": 10**6 * step, "loss": 2 + 1 / step} for step in range(1, 5)]
        trained["metrics"].write_text("\n".join(map(json.dumps, steps)))
    return run


def with_cooldowns(trained: dict[str, Any]) -> dict[str, Any]:
    """The loss after a quarter and a half of the tokens, higher by a law that is known."""
    rank = SIZES.index(trained["size"])
    ends = [
        {
            "share": share,
            "tokens": int(share * trained["tokens"]),
            "steps": int(1000 * share),
            "validation_loss": trained["validation_loss"] + 0.3 * (share**-0.4 - 1) + 0.002 * (rank % 2),
        }
        for share in (0.25, 0.5)
    ]
    return {**trained, "cooldowns": ends}


def behind(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The data behind each figure: rows of every layer of a chart, and what the script draws from."""
    typed = synthetic.typed(summary)
    embedded = view(typed, Texts("en"), "")
    return {name: layers(chart.to_dict()) for name, chart in figures.charts(typed).items()} | {
        "script": {name: embedded[name] for name in ("tasks", "sizes", "losses", "splits")}
    }


def layers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each layer's mark, the fields it shows, and its rows."""
    found = []
    for layer in spec["layer"]:
        data = layer.get("data", spec.get("data", {}))
        rows = spec["datasets"][data["name"]] if "name" in data else data["values"]
        shown = {
            channel: encoding.get("field", encoding.get("value"))
            for channel, encoding in layer["encoding"].items()
            if isinstance(encoding, dict)
        }
        found.append({"mark": layer["mark"]["type"], "shows": shown, "rows": rows})
    return found


@pytest.fixture(scope="module")
def today(fake_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The golden run, summarised now; versions of libraries are no part of what is stored."""
    found = golden_run(fake_run, tmp_path_factory.mktemp("golden")).summarise()
    made_by = {"python": "3.11.0", "summary": str(VERSIONS["summary"])}
    found["provenance"] = {"versions": made_by, "manifests": {}}
    if WRITE:
        refuse_without_version(json.loads(json.dumps(found)))
        store(SUMMARY, found)
        store(FIGURES, behind(json.loads(json.dumps(found))))
    return found


@pytest.fixture(scope="module")
def golden(today: dict[str, Any]) -> dict[str, Any]:
    return json.loads(SUMMARY.read_text("utf-8"))


def refuse_without_version(found: dict[str, Any]) -> None:
    stored = json.loads(SUMMARY.read_text("utf-8"))
    if differing(found, stored) and found["provenance"] == stored["provenance"]:
        pytest.fail("the summary has changed: raise VERSIONS['summary'] before storing it")


def store(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(indented(content) + "\n", "utf-8")


def indented(content: Any, depth: int = 0) -> str:
    """JSON of which a comparison of versions can be read: a row, or a point, is one line."""
    whole = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, dict | list) or len(whole) <= LINE:
        return whole
    begin, end = "{}" if isinstance(content, dict) else "[]"
    inner = [
        f"{json.dumps(key, ensure_ascii=False)}: {indented(value, depth + 1)}"
        for key, value in (content.items() if isinstance(content, dict) else ())
    ] or [indented(value, depth + 1) for value in content]
    margin = " " * (depth + 1)
    return f"{begin}\n{margin}" + f",\n{margin}".join(inner) + f"\n{' ' * depth}{end}"


def differing(found: Any, stored: Any, place: str = "") -> list[str]:
    """Places at which two contents differ, numbers by more than a part in a million."""
    if isinstance(found, dict) and isinstance(stored, dict):
        missing = [f"{place}/{key}" for key in sorted(found.keys() ^ stored.keys())]
        both = [key for key in found if key in stored]
        return missing + [one for key in both for one in differing(found[key], stored[key], f"{place}/{key}")]
    if isinstance(found, list) and isinstance(stored, list) and len(found) == len(stored):
        pairs = enumerate(zip(found, stored, strict=True))
        return [one for at, (new, old) in pairs for one in differing(new, old, f"{place}/{at}")]
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (found, stored))
    same = found == pytest.approx(stored, rel=1e-6, abs=1e-12) if numbers else found == stored
    return [] if same else [place]


def test_the_golden_summary_gives_the_golden_figures(golden: dict[str, Any]) -> None:
    stored = json.loads(FIGURES.read_text("utf-8"))
    found = json.loads(json.dumps(behind(golden)))
    assert sorted(found) == sorted(stored), "the same figures"
    assert differing(found, stored) == []


def test_the_golden_run_gives_the_golden_summary(today: dict[str, Any], golden: dict[str, Any]) -> None:
    places = differing(json.loads(json.dumps(today)), golden)
    assert not places, f"{places[:5]} changed: raise VERSIONS['summary'], then CLAIMSCALE_GOLDEN=write"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_golden_summary_gives_the_golden_page(golden: dict[str, Any], language: str) -> None:
    """The words of each part of the page; charts and what the script draws are compared above."""
    shown = page.html(synthetic.typed(golden), synthetic.STUDY, language)
    words = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>|<[^>]+>", " ", shown.replace("<h2", "\f<h2"))
    parts = [" ".join(part.split()) for part in words.split("\f")]
    assert len(parts) > 5
    check_golden(PAGES, "report", language, {part[:30]: digest(part) for part in parts})


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_golden_summary_has_the_form_of_todays(today: dict[str, Any], golden: dict[str, Any]) -> None:
    """A stored file that no run would write any more would prove nothing."""
    assert form(today) == form(golden)
    page.html(synthetic.typed(golden), synthetic.STUDY)


def form(content: Any) -> Any:
    """The keys of a content, whatever stands at them; of a list, those of its first entry that has any."""
    if isinstance(content, dict):
        return {key: form(value) for key, value in content.items()}
    return next(filter(None, map(form, content)), None) if isinstance(content, list) else None


def test_a_changed_number_would_be_seen(golden: dict[str, Any]) -> None:
    """An estimate and a loss, moved by a thousandth, show in the script's data and in a chart."""
    changed = json.loads(json.dumps(golden))
    result = next(row for row in changed["tasks"][0]["results"] if row["labelled_patients"] == 1000)
    result["auprc"]["estimate"] += 0.001
    changed["sizes"][0]["validation_loss_by_seed"][0] += 0.001
    places = differing(json.loads(json.dumps(behind(changed))), json.loads(FIGURES.read_text("utf-8")))
    assert {place.split("/")[1] for place in places} >= {"pretraining", "script"}
