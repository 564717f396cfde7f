"""A server scores as `predict` does, refuses what it must, and says nothing of a patient anywhere else."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from claimscale import cli
from claimscale.errors import BadInput
from claimscale.inference import serve
from claimscale.inference.package import ModelPackage
from claimscale.inference.predict import predict
from claimscale.inference.serving import scoring
from claimscale.inference.serving.scoring import Scorer
from claimscale.inference.source_file import Dates, read_source
from claimscale.progress import Silent
from claimscale.simulator.population import Population, simulate
from claimscale.sources.raw import EVENT_SCHEMA

sys.path.insert(0, str(Path(__file__).parent))
from serve_fixtures import LANDMARK, made_package, make_package, patient  # noqa: F401

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette prefers a successor of httpx
    from starlette.testclient import TestClient

from claimscale.inference.serving.app import create_app
from claimscale.inference.serving.guard import Guard

TOKEN = "a-token-of-tests-0123456789"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
ADDRESS = "http://127.0.0.1:8321"
LARGEST = 200_000
REQUESTS = int(os.environ.get("CLAIMSCALE_REQUESTS", "60"))
SECRET = "YamadaTaro"
"""Stands for what must not be repeated."""


@pytest.fixture(scope="session")
def scorer(package: ModelPackage) -> Scorer:
    found = Scorer(package)
    found.warm_up()
    return found


@pytest.fixture(scope="session")
def app(scorer: Scorer) -> Guard:
    return create_app(scorer, TOKEN, LARGEST)


@pytest.fixture(scope="session")
def client(app: Guard) -> Iterator[TestClient]:
    with TestClient(app, base_url=ADDRESS, headers=AUTHORIZATION) as opened:
        yield opened


def body(events: list[dict[str, Any]], date: str = LANDMARK.isoformat()) -> dict[str, Any]:
    return {"date": date, "events": events}


def write_meds(folder: Path, events: list[dict[str, Any]]) -> None:
    """The same events as a MEDS dataset."""
    schema = EVENT_SCHEMA.to_pyarrow()

    def value(event: dict[str, Any], name: str) -> Any:
        given = event.get(name)
        return dt.datetime.fromisoformat(given) if name in ("time", "available_at") and given else given

    columns = {name: [value(event, name) for event in events] for name in schema.names}
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.table(columns, schema), folder / "data" / "0.parquet")


def predicted(package: ModelPackage, source: Path, out: Path) -> list[dict[str, Any]]:
    predict(package, read_source(source), Dates(on=(LANDMARK,)), out, Silent())
    return pq.read_table(out).to_pylist()


def as_predicted(one: dict[str, Any]) -> dict[str, Any]:
    """A prediction of the server as a row of `predict`."""
    return {
        "subject_id": one["subject_id"],
        "prediction_time": dt.datetime.fromisoformat(one["last_day"]),
        "predicted_boolean_probability": one["risk"],
        "calibrated_probability": one["calibrated_risk"],
        "low": one["low"],
        "high": one["high"],
        "unread_share": one["unread_share"],
        "outside": " ".join(one["outside"]) or None,
        "excluded": one["excluded"],
    }


def test_scores_are_those_of_predict_bit_for_bit(
    client: TestClient, package: ModelPackage, tmp_path: Path
) -> None:
    everyone = [patient(number, number, visits=4 + 3 * number) for number in range(1, 13)]
    write_meds(tmp_path / "meds", [event for events in everyone for event in events])
    expected = {
        row["subject_id"]: row for row in predicted(package, tmp_path / "meds", tmp_path / "scores.parquet")
    }
    assert len(expected) > 6 and any(row["excluded"] for row in expected.values())
    assert len({row["predicted_boolean_probability"] for row in expected.values()}) == len(expected)
    for number, events in enumerate(everyone, 1):  # alone
        answer = client.post("/predict", json=body(events))
        if number in expected:
            assert [as_predicted(one) for one in answer.json()["predictions"]] == [expected[number]]
        else:
            assert answer.status_code == 422 and "5 known events" in answer.json()["detail"]
    some = [event for events in everyone[:8] for event in events]  # together
    answer = client.post("/predict", json=body(some)).json()
    rows = {one["subject_id"]: as_predicted(one) for one in answer["predictions"]}
    assert rows == {number: row for number, row in expected.items() if number <= 8}
    assert answer["not_scored"] == [str(number) for number in range(1, 9) if number not in expected]


def test_what_is_not_read_is_counted(client: TestClient) -> None:
    events = [event | {"suspected": False} for event in patient(1, 4)]
    events.insert(5, {"subject_id": 1, "time": "2020-01-01", "code": "LAB//718-7"})
    answer = client.post("/predict", json=body(events)).json()
    assert answer["rows_in"] == len(events) == answer["rows_used"] + sum(answer["rows_not_used"].values())
    assert answer["rows_not_used"]["fact without a time"] == 1
    assert answer["rows_not_used"]["same patient, time, code, value and visit"] == 1
    assert {one["code"] for one in answer["unread_codes"]} <= {"ICD10//Q999", "LAB//718-7", "ICD10//E1165"}
    assert answer["unread_codes"] and answer["predictions"][0]["unread_share"] > 0


def test_receipts_are_scored_as_by_predict(tmp_path: Path) -> None:
    simulate(tmp_path / "claims", Population(40, 2, 7, 60), "uke", workers=1)
    masters = tmp_path / "claims" / "masters"
    files = sorted((tmp_path / "claims").rglob("*.UKE"), key=lambda file: file.stat().st_size)
    file = files[-1]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "receipt.uke").write_bytes(file.read_bytes())
    source = tmp_path / "source.yaml"
    source.write_text(f"kind: receipt\npath: {tmp_path / 'one'}\nmasters: {masters}\n", "utf-8")
    tiny = make_package(tmp_path / "package")
    expected = predicted(tiny, source, tmp_path / "scores.parquet")
    app = create_app(Scorer(tiny, masters), TOKEN, 1 << 23)
    with TestClient(app, base_url=ADDRESS, headers=AUTHORIZATION) as client:
        form = {"data": {"date": LANDMARK.isoformat()}, "files": {"file": ("a.uke", file.read_bytes())}}
        answer = client.post("/predict/receipt", **form)
    found = answer.json()["predictions"]
    rows = [as_predicted(one) | {"source_id": one["source_id"]} for one in found]
    assert rows == expected and rows
    assert all(re.fullmatch(r"\d+-\w+", one["source_id"]) for one in found)


def test_everything_but_health_and_the_page_needs_the_token(app: Guard) -> None:
    client = TestClient(app, base_url=ADDRESS)
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/").status_code == 200
    paths = ("/model", "/predict", "/predict/receipt", "/openapi.json", "/docs", "/nothing", "/health/")
    wrong = (
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
    )
    for path in paths:
        for headers in (*wrong, {"Authorization": "Bearer "}, {"Authorization": "Bearer é"}):
            encoded = {name: value.encode() for name, value in headers.items()}
            for method in ("GET", "POST", "OPTIONS"):
                answer = client.request(method, path, headers=encoded)
                assert answer.status_code == 401 and "token" in answer.json()["detail"], (path, headers)
                assert "access-control-allow-origin" not in answer.headers
    assert client.get("/model", headers=AUTHORIZATION).json()["question"]["name"] == "ckd"
    assert client.get("/openapi.json", headers=AUTHORIZATION).json()["openapi"].startswith("3.")
    assert client.get("/docs", headers=AUTHORIZATION).status_code == 404


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost:8321@evil",
        "",
        "[::1",
        "127.0.0.1:",
        "0.0.0.0:8321",
    ],
)
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/health", "/model"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 400 and answer.json()["detail"].startswith("host:")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8321", "[::1]", "[::1]:9"])
def test_loopback_hosts_are_accepted(client: TestClient, host: str) -> None:
    assert client.get("/model", headers={"Host": host}).status_code == 200


def test_other_origins_are_refused(client: TestClient) -> None:
    for origin in ("http://evil.example", "null", "https://127.0.0.1:8321", "http://127.0.0.1:1"):
        assert client.get("/model", headers={"Origin": origin}).status_code == 403
    assert client.get("/model", headers={"Origin": ADDRESS}).status_code == 200


def test_a_large_body_is_refused_before_it_is_read(app: Guard) -> None:
    sent, taken = [], 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b" " * 50_000, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    def call(*headers: tuple[bytes, bytes]) -> int:
        sent.clear()
        given = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {TOKEN}".encode()), *headers]
        scope = {"type": "http", "path": "/predict", "method": "POST", "headers": given}
        asyncio.run(app(scope, receive, send))
        return sent[0]["status"]

    assert call((b"content-length", str(LARGEST + 1).encode())) == 413 and taken == 0
    assert call((b"content-length", b"9" * 5000)) == 413 and taken == 0
    assert call((b"content-length", b"-1")) == 400 and taken == 0
    assert call() == 413 and taken == LARGEST // 50_000 + 1  # without a length: at the first byte too many


def test_the_page_is_self_contained_and_protected(client: TestClient) -> None:
    answer = client.get("/")
    assert not re.search(
        r"https?://|src=|href=|@import|url\(|localStorage|sessionStorage|cookie|innerHTML", answer.text
    )
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("'sha256-") == 2
    for path in ("/", "/health", "/model", "/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY" and "server" not in headers


def test_the_example_of_the_page_is_scored(client: TestClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    answer = client.post("/predict", content=example, headers={"Content-Type": "application/json"})
    assert len(answer.json()["predictions"]) == 1 and not answer.json()["rows_not_used"]
    for name in answer.json()["predictions"][0].keys() - {"subject_id", "source_id"}:
        assert f"`{name}`" in page


EVENT = {"subject_id": 1, "time": "2020-01-01", "code": "ICD10//E11"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "body"),
        (b"{", "body: is not JSON"),
        (b"[" * 50_000, "body"),
        (b"\xff\xfe\x00", "body"),
        (b"1" * 5000, "body"),
        (b'"\\ud800"', "body"),
        (b"[]", "body"),
        (json.dumps(body([])).encode(), "events: "),
        (json.dumps(body([EVENT], "2020-02-30")).encode(), "date: "),
        (json.dumps(body([EVENT], "20201001")).encode(), "date: must be a date"),
        (json.dumps(body([EVENT], "1850-01-01")).encode(), "date: "),
        (json.dumps(body([EVENT]) | {"date": 5}).encode(), "date: must be a date"),
        (json.dumps(body([EVENT]) | {SECRET: 1}).encode(), "body: has an unknown field"),
        (json.dumps(body([EVENT | {SECRET: 1}])).encode(), "events.0: has an unknown field"),
        (json.dumps(body([EVENT | {"time": "yesterday"}])).encode(), "events.0.time: "),
        (json.dumps(body([EVENT | {"time": 5}])).encode(), "events.0.time: must be a date"),
        (json.dumps(body([EVENT | {"time": "2020-01-01T00:00:00Z"}])).encode(), "events.0.time: "),
        (json.dumps(body([EVENT | {"time": "99999-01-01"}])).encode(), "events.0.time: "),
        (json.dumps(body([EVENT | {"code": ""}])).encode(), "events.0.code: "),
        (json.dumps(body([EVENT | {"code": f"{SECRET}\n"}])).encode(), "events.0.code: "),
        (json.dumps(body([EVENT | {"code": "x" * 500}])).encode(), "events.0.code: "),
        (json.dumps(body([EVENT | {"code": 5}])).encode(), "events.0.code: "),
        (
            b'{"date": "2020-10-01", "events": [{"subject_id": 1, "time": null, "code": "\\ud800"}]}',
            "events.0.code: ",
        ),
        (json.dumps(body([EVENT | {"subject_id": 1 << 63}])).encode(), "events.0.subject_id: "),
        (json.dumps(body([EVENT | {"subject_id": SECRET}])).encode(), "events.0.subject_id: "),
        (json.dumps(body([EVENT | {"numeric_value": float("nan")}])).encode(), "events.0.numeric_value: "),
        (json.dumps(body([EVENT | {"numeric_value": 1e300}])).encode(), "events.0.numeric_value: "),
        (json.dumps(body([EVENT])).encode(), "events: none of 1 is usable (1 unknown patient)"),
        (json.dumps(body([EVENT | {"subject_id": n} for n in range(51)])).encode(), "events: must be of 50"),
        (
            json.dumps(body([EVENT | {"code": f"{SECRET}//x", "time": "2099-01-01"}])).encode(),
            "events: none of 1",
        ),
    ],
)
def test_malformed_input_is_refused_in_one_line(client: TestClient, capfd, content: bytes, said: str) -> None:
    answer = client.post("/predict", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    detail = answer.json()["detail"]
    assert isinstance(detail, str) and "\n" not in detail and len(detail) < 300
    assert detail.startswith(said) or answer.status_code == 400
    assert SECRET not in answer.text and not "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "content", [b"", b"IR,", b"\x00\x01", b"{}", "あ".encode(), SECRET.encode(), b"RE,1\r\n" * 9]
)
def test_malformed_receipts_are_refused_in_one_line(client: TestClient, capfd, content: bytes) -> None:
    answer = client.post("/predict/receipt", data={"date": "2020-10-01"}, files={"file": (SECRET, content)})
    detail = answer.json()["detail"]
    assert answer.status_code == 422 and "\n" not in detail and tempfile.gettempdir() not in detail
    assert SECRET not in answer.text and not "".join(capfd.readouterr())
    for data, files in (
        ({}, {"file": ("a", b"")}),
        ({"date": "x"}, {"file": ("a", b"")}),
        ({"date": "2020-10-01"}, {}),
    ):
        assert client.post("/predict/receipt", data=data, files=files).status_code == 422


def test_a_fault_shows_its_place_but_no_patient(
    client: TestClient, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(scorer, "_score_events", fail)
    answer = client.post("/predict", json=body([EVENT]))
    assert answer.status_code == 500 and "RuntimeError" in answer.text
    said = "".join(capfd.readouterr())
    assert "RuntimeError" in said and SECRET not in said + answer.text


def test_nothing_of_a_request_stays(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert client.post("/predict", json=body(patient(1, 4))).status_code == 200
    client.post("/predict", json=body([EVENT]))
    assert not list(tmp_path.iterdir())


def test_made_up_requests_give_no_server_error(app: Guard) -> None:
    schemathesis = pytest.importorskip("schemathesis")

    async def local(scope: Any, receive: Any, send: Any) -> None:
        headers = [(name, value) for name, value in scope.get("headers", []) if name != b"host"]
        await app({**scope, "headers": [(b"host", b"127.0.0.1"), *headers]}, receive, send)

    schema = schemathesis.openapi.from_asgi("/openapi.json", local, headers=AUTHORIZATION)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert {operation.path for operation in operations} == {
        "/health",
        "/model",
        "/predict",
        "/predict/receipt",
    }
    seen = []
    each = REQUESTS // 4  # of both endpoints with input, valid and not
    for operation in operations:
        takes_input = operation.method == "post"
        for mode in schemathesis.GenerationMode if takes_input else [schemathesis.GenerationMode.POSITIVE]:

            @settings(
                max_examples=each, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(operation.as_strategy(generation_mode=mode))
            def requests(case: Any) -> None:
                status = case.call(headers=AUTHORIZATION).status_code
                seen.append(status)
                assert status < 500

            requests()
    print(f"{len(seen)} requests: {sorted((status, seen.count(status)) for status in set(seen))}")


PARTS = (
    *(b"--b\r\n", b"--b--\r\n", b"\r\n", b"\xff", b"IR,1,13,1,1", b"Content-Type: x; charset=q\r\n"),
    b'Content-Disposition: form-data; name="file"; filename="a"\r\n',
    b'Content-Disposition: form-data; name="date"\r\n\r\n2020-10-01\r\n',
)
TYPES = (
    *("application/json", "multipart/form-data; boundary=b", "multipart/form-data"),
    *("text/plain", "a/b; charset=\xe9"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*EVENT, "events", "date"]), inner, max_size=5)
    ),
)


def test_any_bytes_give_no_server_error(client: TestClient) -> None:
    @settings(max_examples=REQUESTS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(["/predict", "/predict/receipt", "/model", "/"]),
        st.sampled_from(["POST", "GET", "PUT", "HEAD"]),
        st.sampled_from(TYPES),
        st.binary(max_size=300)
        | st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join)
        | JSON.map(lambda value: json.dumps(value).encode()),
    )
    def requests(path: str, method: str, kind: str, content: bytes) -> None:
        headers = {"Content-Type": kind.encode("latin-1")}
        assert client.request(method, path, content=content, headers=headers).status_code < 500

    requests()


CODES = st.sampled_from(
    ["ICD10//E11", "ICD10//N18", "ATC//C03AA01", "MEDS_BIRTH", "MEDS_DEATH", "SEX//F", "gender//m"]
)
TIMES = st.none() | st.dates().map(str) | st.datetimes().map(dt.datetime.isoformat)
EVENTS = st.fixed_dictionaries(
    {"subject_id": st.integers(-2, 2) | st.integers(-(1 << 63), (1 << 63) - 1), "time": TIMES}
    | {"code": CODES | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)},
    optional={
        "available_at": TIMES,
        "suspected": st.none() | st.booleans(),
        "numeric_value": st.floats(-1e30, 1e30),
    }
    | {"hospital_id": st.sampled_from(["H1", "H2"]), "text_value": st.text(max_size=5)},
)


def test_valid_patients_of_any_kind_give_no_server_error(client: TestClient) -> None:
    @settings(max_examples=REQUESTS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(EVENTS, max_size=12), st.integers(0, 3), st.dates(dt.date(1950, 1, 1), dt.date(2099, 12, 31))
    )
    def requests(events: list[dict[str, Any]], seed: int, date: dt.date) -> None:
        content = json.dumps(body([*patient(1, seed, 8), *events], date.isoformat()))
        answer = client.post("/predict", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 422), answer.text

    requests()


def test_the_command_serves_on_loopback_and_logs_nothing(package: ModelPackage) -> None:
    command = [sys.executable, "-m", "claimscale", "serve", str(package.folder), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != serve.TOKEN_VARIABLE}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().split()[1]
        token = process.stdout.readline().split()[1]
        assert address.startswith("http://127.0.0.1:") and len(token) >= 32
        content = json.dumps(body(patient(1, 4))).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{address}/predict", content, headers)) as answer:
            assert json.load(answer)["predictions"] and "server" not in answer.headers
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}/model?{SECRET}")
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and rest == ("", "")


def test_bad_input_is_one_line(
    package: ModelPackage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(scoring.Scorer, "warm_up", lambda self: None)
    with serve.bound(0) as listener:
        taken = str(listener.getsockname()[1])
        assert cli.call(["serve", str(package.folder), "--port", taken]) == 2
    assert cli.call(["serve", str(package.folder), "--port", "70000"]) == 2
    assert cli.call(["serve", str(package.folder), "--max-body-mib", "0"]) == 2
    assert cli.call(["serve", str(tmp_path)]) == 2
    monkeypatch.setenv(serve.TOKEN_VARIABLE, "short")
    assert cli.call(["serve", str(package.folder)]) == 2
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.call(["serve", str(package.folder)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6 and "claimscale[serve]" in lines[-1] and "short" not in lines[-2]


def test_a_given_token_is_used_and_a_random_one_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(serve.TOKEN_VARIABLE, TOKEN)
    assert serve.read_token() == (TOKEN, True)
    monkeypatch.setenv(serve.TOKEN_VARIABLE, "with a blank in it")
    with pytest.raises(BadInput, match=serve.TOKEN_VARIABLE):
        serve.read_token()
    monkeypatch.delenv(serve.TOKEN_VARIABLE)
    assert serve.read_token()[0] != serve.read_token()[0]
