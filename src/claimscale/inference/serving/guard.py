"""Protection of the server, ahead of the application: host, origin, token, body size, headers, faults.

A request is refused before any of its body is read. No response quotes a request, and no line is logged but
the place of a fault.
"""

from __future__ import annotations

import hmac
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from claimscale.errors import fault

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
PUBLIC = ("/", "/health")
"""Paths without a token: the page holds no data, and `/health` says only that the server runs."""
HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """An ASGI application around another one.

    Args:
        token: the bearer token; compared in constant time.
        largest_body: most bytes of a request body.
        policy: the Content-Security-Policy of all responses.
    """

    def __init__(self, app: Application, token: str, largest_body: int, policy: str) -> None:
        self.app, self.token, self.largest_body = app, token.encode(), largest_body
        headers = HEADERS | {"content-security-policy": policy}
        self.headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_started = False

        async def protected(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                message = {**message, "headers": [*message.get("headers", []), *self.headers]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(protected, *refusal)
            return
        body = await self._body(receive)
        if isinstance(body, bytes):
            try:
                await self.app(scope, _replayed(body, receive), protected)
            except Exception as error:  # its text may quote a request, so it must not reach the server's log
                print(f"claimscale: {fault(error)}", file=sys.stderr)
                if not is_started:
                    await _refuse(protected, 500, str(fault(error)))
        elif body == "too large":
            await _refuse(protected, 413, self._too_large())

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason if the request is refused by its headers."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts, origins = headers.get(b"host", []), headers.get(b"origin", [])
        if len(hosts) != 1 or not _is_loopback(hosts[0]):
            return 400, "host: must be a loopback name, such as 127.0.0.1 or localhost"
        if any(origin.lower() != b"http://" + hosts[0].lower() for origin in origins):
            return 403, "origin: requests from other pages are refused"
        if scope["path"] not in PUBLIC and not self._has_token(headers.get(b"authorization", [])):
            return 401, "authorization: needs the bearer token"
        for length in headers.get(b"content-length", []):
            if not (length.isascii() and length.isdigit()):
                return 400, "content-length: must be a number"
            if len(length) > 18 or int(length) > self.largest_body:
                return 413, self._too_large()
        return None

    def _has_token(self, values: list[bytes]) -> bool:
        scheme, _, given = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        same = hmac.compare_digest(given.strip(), self.token)
        return same and scheme.lower() == b"bearer"

    def _too_large(self) -> str:
        return f"body: is larger than {self.largest_body / (1 << 20):.4g} MiB"

    async def _body(self, receive: Receive) -> bytes | str:
        """The body; `too large` as soon as it is, even without a Content-Length; `gone` without a client."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return "gone"
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.largest_body:
                return "too large"
            more = message.get("more_body", False)
        return b"".join(parts)


def _is_loopback(host: bytes) -> bool:
    name, separator, port = host.decode("latin-1").lower().rpartition(":")
    if not separator or port.endswith("]"):
        name, port = host.decode("latin-1").lower(), "0"
    return name in LOOPBACK and port.isascii() and port.isdigit()


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A source of messages that gives the body that was read, then those of the client."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


async def _refuse(send: Send, status: int, reason: str) -> None:
    content = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
