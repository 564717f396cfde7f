"""No password is written or printed; the connection uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
import pytest
import yaml

from claimscale import artifacts, pipeline, sources
from claimscale.config import loading
from claimscale.config.execution import EngineSettings
from claimscale.config.secrets import expand, redact
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.experiments.workspace import Workspace

SECRET = "p@ss/wörd:1"
URL = f"postgres://reader:{SECRET}@host:5432/cdm"


def study_of(path: str, runs: Path) -> Study:
    settings: dict[str, Any] = {
        "name": "x",
        "source": {"kind": "omop", "path": path},
        "runs_dir": str(runs),
        "cohort": {"landmark": "2021-06-01"},
        "sizes": ["80k"],
        "tasks": ["ckd"],
    }
    return Study.model_validate(settings, strict=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URL, "postgres://reader:***@host:5432/cdm"),
        ("postgres://:secret@host/cdm", "postgres://:***@host/cdm"),
        ("postgres://host/cdm?user=a&password=secret&x=1", "postgres://host/cdm?user=a&password=***&x=1"),
        ("md:cdm?motherduck_token=secret", "md:cdm?motherduck_token=***"),
        ("duckdb://cdm.duckdb", "duckdb://cdm.duckdb"),
        ("postgres://reader:${PASSWORD}@host/cdm", "postgres://reader:${PASSWORD}@host/cdm"),
        ("claims/2021", "claims/2021"),
        ("postgres://reader@server:secret@host/cdm", "postgres://reader@server:***@host/cdm"),
        ("postgres://reader@host:5432/cdm", "postgres://reader@host:5432/cdm"),
        ("postgres:/reader:secret@host is not a folder", "postgres:/reader:***@host is not a folder"),
        ("snowflake://reader:secret@org/cdm?warehouse=w", "snowflake://reader:***@org/cdm?warehouse=w"),
        ("az://cdm?sv=2024&sig=secret%3D", "az://cdm?sv=2024&sig=***"),
        ("jdbc:sqlserver://host;user=a;pwd=secret;x=1", "jdbc:sqlserver://host;user=a;pwd=***;x=1"),
        ("host=cdm user=reader password=secret port=1", "host=cdm user=reader password=*** port=1"),
        ("host=cdm password='a b' port=1", "host=cdm password=*** port=1"),
        ("password=${CDM_PASSWORD}", "password=${CDM_PASSWORD}"),
        ("finetune.token_dropout=0.1", "finetune.token_dropout=0.1"),
        ("s3://bucket/passwords/key.parquet", "s3://bucket/passwords/key.parquet"),
    ],
)
def test_a_password_is_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text) == redact(redact(text)) == shown


def test_no_file_of_a_run_holds_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, run = study_of(URL, tmp_path), study_of(URL, tmp_path).run_directory
    monkeypatch.setattr(pipeline, "data_stages", lambda study: [])
    pipeline.prepare(study)
    artifacts.append_audit(run, "built", stage="events")
    assert yaml.safe_load((run / "study.yaml").read_text("utf-8"))["source"]["path"] == redact(URL)
    assert not any(SECRET in file.read_text("utf-8") for file in run.rglob("*") if file.is_file())
    assert SECRET not in loading.dump(study)
    assert SECRET not in repr(Workspace(study, run).study)


def test_the_fingerprint_ignores_the_password(tmp_path: Path) -> None:
    found, other = (sources.fingerprint(study_of(url, tmp_path).source) for url in (URL, redact(URL)))
    assert found == other and SECRET not in repr(found)


@pytest.mark.parametrize("said", [URL, SECRET, f"user reader, {SECRET}", "p%40ss%2Fw%C3%B6rd%3A1"])
def test_errors_of_the_driver_hide_the_password(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgres://reader:p%40ss%2Fw%C3%B6rd%3A1@host/cdm" if "%" in said else URL
    asked: list[str] = []

    def refuse(resource: str) -> None:
        asked.append(resource)
        raise RuntimeError(f"login failed: {said}")

    monkeypatch.setattr(ibis, "connect", refuse)
    with Engine(EngineSettings(), tmp_path) as engine, pytest.raises(BadInput) as caught:
        sources.read(study_of(url, tmp_path), engine, tmp_path)
    assert asked == [url]
    message = str(caught.value)
    assert message.startswith("source.path: the database cannot be read (RuntimeError: login failed: ")
    assert SECRET not in message and "p%40ss" not in message and "***" in message


@pytest.mark.parametrize(
    ("scheme", "package"),
    [
        ("postgres", "claimscale[postgres]"),
        ("postgresql", "claimscale[postgres]"),
        ("mysql", "ibis-framework[mysql]"),
        ("snowflake", "ibis-framework[snowflake]"),
    ],
)
def test_a_missing_driver_names_its_package(
    scheme: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(resource: str) -> None:
        raise ImportError("Failed to import")

    monkeypatch.setattr(ibis, "connect", refuse)
    with Engine(EngineSettings(), tmp_path) as engine, pytest.raises(BadInput) as caught:
        sources.read(study_of(f"{scheme}://u:p@host/cdm", tmp_path), engine, tmp_path)
    expected = f"is not installed: pip install '{package}'"
    assert str(caught.value).startswith("source.path: the driver of ") and str(caught.value).endswith(
        expected
    )


def test_a_short_password_does_not_spoil_other_words() -> None:
    url = "postgres://u:p@host/cdm"
    assert redact("password p of postgres refused", url) == "password *** of postgres refused"


def test_a_variable_is_expanded_for_the_connection_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "postgres://reader:${CDM_PASSWORD}@host/cdm"
    monkeypatch.setenv("CDM_PASSWORD", SECRET)
    asked: list[str] = []

    def refuse(resource: str) -> None:
        asked.append(resource)
        raise RuntimeError(f"login failed: {SECRET}")

    monkeypatch.setattr(ibis, "connect", refuse)
    study = study_of(path, tmp_path)
    with Engine(EngineSettings(), tmp_path) as engine, pytest.raises(BadInput) as caught:
        sources.read(study, engine, tmp_path)
    assert asked == ["postgres://reader:p%40ss%2Fw%C3%B6rd%3A1@host/cdm"]
    assert SECRET not in str(caught.value)
    assert path in loading.dump(study)
    assert SECRET not in repr(sources.fingerprint(study.source))


def test_a_variable_may_hold_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMS", str(tmp_path))
    assert expand("${CLAIMS}/cdm", "source.path") == f"{tmp_path}/cdm"
    monkeypatch.delenv("CLAIMS")
    with pytest.raises(BadInput, match=r"^source\.path: environment variable CLAIMS is not set$"):
        expand("${CLAIMS}/cdm", "source.path")


def test_errors_of_settings_hide_the_password(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"name: x\nsource: {{kind: omop, path: ['{URL}']}}\n", "utf-8")
    for overrides in ([], [f"source.path.x={URL}"], [f"source.path={{{URL}"], [URL]):
        with pytest.raises(BadInput) as caught:
            loading.load(file, overrides)
        assert SECRET not in str(caught.value)


def test_a_hidden_password_is_not_tried(tmp_path: Path) -> None:
    with (
        Engine(EngineSettings(), tmp_path) as engine,
        pytest.raises(BadInput, match="the password is hidden"),
    ):
        sources.read(study_of(redact(URL), tmp_path), engine, tmp_path)


URLS = [
    URL,
    f"postgres://reader@server:{SECRET}@host/cdm",
    f"host=cdm user=reader password={SECRET.replace(' ', '')}",
    f"mssql://host/cdm?user=reader&password={SECRET}",
]


@pytest.mark.parametrize("kind", ["omop", "tables", "meds", "synpuf", "receipt", "dpc"])
@pytest.mark.parametrize("by_variable", [False, True])
@pytest.mark.parametrize("url", URLS)
def test_no_kind_of_source_tells_a_password(
    url: str, kind: str, by_variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDM", url)
    study = study_of("${CDM}" if by_variable else url, tmp_path)
    settings = study.model_dump() | {"source": {"kind": kind, "path": study.source.path}}  # pyright: ignore
    study = Study.model_validate(settings)
    with pytest.raises(BadInput) as caught:
        pipeline.prepare(study)
    written = [file.read_text("utf-8") for file in tmp_path.rglob("*") if file.is_file()]
    assert written and not any(SECRET in text for text in [str(caught.value), *written])


def test_a_variable_works_in_every_place_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", str(tmp_path))
    study = study_of("${HERE}/cdm", Path("${HERE}"))
    assert study.run_directory == tmp_path / "x"
    receipt = {"kind": "receipt", "path": "${HERE}/uke", "masters": "${HERE}/masters"}
    (tmp_path / "uke").mkdir()
    (tmp_path / "uke" / "claims.UKE").write_text("", "utf-8")
    with pytest.raises(BadInput, match=f"^source.masters: {tmp_path}/masters"):
        sources.fingerprint(Study.model_validate(study.model_dump() | {"source": receipt}).source)
    monkeypatch.delenv("HERE")
    with pytest.raises(BadInput, match=r"^runs_dir: environment variable HERE is not set$"):
        _ = study.run_directory
