"""`claimscale serve`: a model package behind HTTP on this machine's loopback interface."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from pathlib import Path

from claimscale.errors import BadInput
from claimscale.inference.package import ModelPackage
from claimscale.inference.serving.scoring import Scorer

ADDRESS = "127.0.0.1"
TOKEN_VARIABLE = "CLAIMSCALE_TOKEN"
SHORTEST_TOKEN = 16
MOST_CONNECTIONS = 32
"""Each may hold a body of the largest size in memory."""


def serve(folder: Path, port: int, masters: Path | None, largest_body: int) -> None:
    """Serve the package until the process is interrupted. Prints the address and the token.

    `port` 0 uses a free port. `masters` are the national master files for receipts. Raises BadInput for a
    package without a question, a port that is in use, and missing packages of claimscale[serve].
    """
    try:
        import uvicorn

        import python_multipart  # noqa: F401  # isort: skip
        from claimscale.inference.serving.app import create_app
    except ImportError as error:
        raise BadInput(f"serve: needs claimscale[serve] (there is no {error.name})") from None
    token, is_given = read_token()
    scorer = Scorer(ModelPackage.open(folder), masters)
    scorer.warm_up()
    app = create_app(scorer, token, largest_body)
    with bound(port) as listener:
        # Libraries log what they refuse; a request must not reach a log.
        logging.disable(logging.CRITICAL)
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
        )
        print(f"Address: http://{ADDRESS}:{listener.getsockname()[1]}  (Ctrl-C stops)")
        print(f"Token: {f'that of {TOKEN_VARIABLE}' if is_given else token}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def read_token() -> tuple[str, bool]:
    """The token of the environment variable, or a new random one; and whether it was given.

    Raises BadInput for a token that is too short or cannot be sent in a header.
    """
    given = os.environ.get(TOKEN_VARIABLE)
    if given is None:
        return secrets.token_urlsafe(32), False
    if len(given) < SHORTEST_TOKEN or not all("!" <= letter <= "~" for letter in given):
        raise BadInput(f"{TOKEN_VARIABLE}: needs {SHORTEST_TOKEN} or more ASCII characters without blanks")
    return given, True


def bound(port: int) -> socket.socket:
    """A listening socket on the loopback interface. Raises BadInput if the port cannot be used."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        cause = error.strerror if isinstance(error, OSError) else "must be from 0 to 65535"
        raise BadInput(f"--port {port}: {str(cause).lower()}") from None
    return listener
