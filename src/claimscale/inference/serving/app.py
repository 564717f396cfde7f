"""The application of `claimscale serve`: its endpoints and error messages. Needs claimscale[serve]."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, Security, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BeforeValidator

from claimscale import __version__
from claimscale.errors import BadInput, fault
from claimscale.inference.package import ModelPackage
from claimscale.inference.serving.guard import Guard
from claimscale.inference.serving.schema import (
    Day,
    Health,
    ModelDescription,
    Patients,
    Problem,
    Scores,
    date_text,
)
from claimscale.inference.serving.scoring import Scorer
from claimscale.packages.files import EVIDENCE, read_json_file

FormDate = Annotated[Day, BeforeValidator(date_text), Form()]
NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI can send requests to OpenTelemetry."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Wrong host, or a body that cannot be parsed"},
    401: {"model": Problem, "description": "No token, or a wrong one"},
    403: {"model": Problem, "description": "Sent by a page of another origin"},
    413: {"model": Problem, "description": "The body is too large"},
    422: {"model": Problem, "description": "The input cannot be used"},
}


def create_app(scorer: Scorer, token: str, largest_body: int) -> Guard:
    """The protected application that scores with this package."""
    page = Path(__file__).with_name("page.html").read_text("utf-8")
    app = FastAPI(
        title=f"claimscale: {scorer.package.config.name}",
        version=__version__,
        docs_url=None,  # these pages load scripts from the network
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.add_exception_handler(BadInput, _bad_input)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fault)
    app.add_api_route("/", lambda: HTMLResponse(page), include_in_schema=False)
    app.add_api_route("/health", _health, responses={400: PROBLEMS[400], 403: PROBLEMS[403]})
    _add_model(app, scorer)
    return Guard(app, token, largest_body, _policy(page))


def _add_model(app: FastAPI, scorer: Scorer) -> None:
    """The endpoints that need the token."""
    description = describe(scorer.package)
    protected: dict[str, Any] = {
        "dependencies": [Security(HTTPBearer(auto_error=False))],  # for OpenAPI; the guard tests the token
        "responses": PROBLEMS,
    }

    @app.get("/model", **protected)
    def model() -> ModelDescription:
        """The package's question, size, evidence and ranges."""
        return description

    @app.post("/predict", **protected)
    def predict(patients: Patients) -> Scores:
        """The risks of one or a few patients, from their events in MEDS form."""
        return scorer.score_events(patients)

    @app.post("/predict/receipt", **protected)
    def predict_receipt(file: Annotated[UploadFile, File()], date: FormDate) -> Scores:
        """The risks of the patients of an electronic receipt file (UKE)."""
        return scorer.score_receipts(file.file.read(), date)


def describe(package: ModelPackage) -> ModelDescription:
    """What the package is."""
    config = package.config
    assert config.task is not None
    return ModelDescription(
        name=config.name,
        package=package.digest,
        question=config.task.model_dump(mode="json"),
        models=[member.kind for member in config.members],
        size=config.size,
        landmark=config.landmark,
        min_events=config.min_events,
        code_systems=config.code_systems,
        crosswalks=config.crosswalks,
        calibration=package.calibration.method,
        ranges={name: (one.low, one.high) for name, one in package.reference.ranges.items()},
        evidence=read_json_file(package.folder / EVIDENCE),
    )


def _health() -> Health:
    """Whether the server runs."""
    return Health()


async def _bad_input(request: Request, error: Exception) -> JSONResponse:
    return _problem(str(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _problem(problem_line(error.errors()))


async def _fault(request: Request, error: Exception) -> JSONResponse:
    return _problem(str(fault(error)), 500)


def _problem(line: str, status: int = 422) -> JSONResponse:
    return JSONResponse({"detail": " ".join(line.split())}, status)


def problem_line(errors: Sequence[Any]) -> str:
    """The first validation error as one line, without any value or unknown name of the request.

    >>> problem_line([{"loc": ("body", "events", 3, "time"), "type": "missing", "msg": "Field required"}])
    'events.3.time: Field required'
    >>> problem_line([{"loc": ("body", "events", 0, "Taro"), "type": "extra_forbidden", "msg": ""}])
    'events.0: has an unknown field'
    """
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    if first["type"] == "json_invalid":
        return "body: is not JSON"
    if first["type"] == "extra_forbidden":
        return f"{'.'.join(place[:-1]) or 'body'}: has an unknown field"
    return f"{'.'.join(place) or 'body'}: {first['msg'].removeprefix('Value error, ')}"


def _policy(page: str) -> str:
    """A Content-Security-Policy that allows the page's own script and style, and requests to this server."""

    def sources(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (hashlib.sha256(text.encode()).digest() for text in found)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {sources('script')}; style-src {sources('style')}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
