"""A PostgreSQL server of its own: OMOP tables, and the ways to give its password."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from claimscale import sources
from claimscale.config.sources import OmopSource
from claimscale.errors import BadInput
from claimscale.sources import omop

pytest.importorskip("psycopg", reason="no driver: pip install 'claimscale[postgres]'")
SECRET = "p@ss/wörd:1"
ENCODED = "p%40ss%2Fw%C3%B6rd%3A1"
USER = "reader"
TYPES = {"int64": "bigint", "int32": "int", "date32[day]": "date", "timestamp[us]": "timestamp"}


def programs() -> Path:
    """The folder of PostgreSQL's server programs; the test is skipped where there is none."""
    found, here = shutil.which("initdb"), Path("/usr/lib/postgresql")
    folders = [str(Path(found).parent)] if found else sorted(map(str, here.glob("*/bin")))
    if not folders:
        pytest.skip("no PostgreSQL server is installed")
    return Path(folders[-1])


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a server with a password. PostgreSQL refuses to run as root: another user starts it.

    Its folder is not among pytest's, into which another user cannot look.
    """
    bin = programs()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start: dict[str, Any] = {"capture_output": True, "check": True, "cwd": folder}
        if os.getuid() == 0:
            start["user"] = "postgres"
            shutil.chown(folder, "postgres")
        (folder / "password").write_text(SECRET, "utf-8")
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        data = str(folder / "data")
        created = ["-U", USER, "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-E", "UTF8"]
        subprocess.run([bin / "initdb", "-D", data, *created, "--locale=C"], **start)
        options = f"-p {port} -k {folder} -c fsync=off"
        subprocess.run(
            [bin / "pg_ctl", "-D", data, "-o", options, "-l", f"{data}/log", "-w", "start"], **start
        )
        yield port
        subprocess.run([bin / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **start)


@pytest.fixture(scope="module")
def filled(server: int, written: Any) -> int:
    """The port of the server, whose database `postgres` holds the simulated OMOP tables."""
    import psycopg

    login = {"host": "localhost", "port": server, "user": USER, "password": SECRET, "dbname": "postgres"}
    with psycopg.connect(**login) as connection:  # pyright: ignore[reportArgumentType]
        for folder in written("omop").iterdir():
            table = pq.read_table(folder)
            columns = ", ".join(f"{one.name} {TYPES.get(str(one.type), 'text')}" for one in table.schema)
            connection.execute(f"CREATE TABLE {folder.name} ({columns})".encode())
            with connection.cursor().copy(f"COPY {folder.name} FROM STDIN".encode()) as copy:
                for row in table.to_pylist():
                    copy.write_row(list(row.values()))
    return server


def compared(rows: list[dict]) -> Counter:
    """The columns that OMOP keeps of events with a visit, and of persons."""
    return Counter(
        (row["subject_id"], row["time"], row["code"], row["suspected"], row["visit_id"])
        for row in rows
        if row["visit_id"] is not None or row["code"].startswith(("MEDS_", "SEX//"))
    )


def database(port: int, login: str) -> OmopSource:
    return OmopSource(kind="omop", path=f"postgres://{login}@localhost:{port}/postgres")


def test_a_database_gives_the_simulated_events(filled, simulated, validated, engine, tmp_path) -> None:
    (tmp_path / "raw").mkdir()
    raw = omop.read(database(filled, f"{USER}:{ENCODED}"), engine, tmp_path / "raw")
    events, quality = validated(raw)
    assert not quality["quarantined"] and not quality["dropped"]
    assert compared(events.to_pylist()) == compared(simulated.to_pylist())


@pytest.mark.parametrize("way", ["url", "variable", "PGPASSWORD", "pass file"])
def test_the_password_may_be_given_in_four_ways(way, filled, engine, tmp_path, monkeypatch) -> None:
    login = USER
    if way == "url":
        login = f"{USER}:{ENCODED}"
    elif way == "variable":
        login = USER + ":${CDM_PASSWORD}"
        monkeypatch.setenv("CDM_PASSWORD", SECRET)
    elif way == "PGPASSWORD":
        monkeypatch.setenv("PGPASSWORD", SECRET)
    else:
        file = tmp_path / "pgpass"
        escaped = SECRET.replace("\\", "\\\\").replace(":", "\\:")
        file.write_text(f"localhost:{filled}:*:{USER}:{escaped}\n", "utf-8")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(file))
    source = database(filled, login)
    assert engine.count(omop.read(sources.expanded(source, "source"), engine, tmp_path).table) > 1000
    recorded = repr(sources.fingerprint(source))
    assert SECRET not in recorded and ENCODED not in recorded


@pytest.mark.parametrize("login", [USER, f"{USER}:{ENCODED}x", f"{USER}@server:{ENCODED}"])
def test_a_refused_login_is_one_line_without_the_password(login, filled, engine, tmp_path) -> None:
    with pytest.raises(BadInput, match=r"^source\.path: the database cannot be read \(") as caught:
        omop.read(database(filled, login), engine, tmp_path)
    message = str(caught.value)
    assert "\n" not in message and SECRET not in message and ENCODED not in message
