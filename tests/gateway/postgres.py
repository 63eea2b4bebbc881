"""A real Postgres server for the tests that can use one; skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.ports import free_port

WAIT_SECONDS = 30.0


def _programs() -> Path:
    """The folder of the server's programs, which Debian does not put into the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("no Postgres server is installed")
    return Path(found[-1] if found else on_path or "").parent


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a server of its own that runs while the context lasts."""
    programs = _programs()
    # The server refuses to run as root.
    user: dict[str, Any] = {"user": "nobody"} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="kandinsky-postgres-"))
    if user:
        shutil.chown(folder, "nobody")
    options = ("--auth=trust", "--username=tests", "--no-sync", "--encoding=UTF8", "--locale=C")
    port = free_port()
    arguments = ("-D", folder, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F")
    ready = (programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port))
    try:
        initdb = (programs / "initdb", "-D", folder, *options)
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **user)
        server = subprocess.Popen(
            (programs / "postgres", *arguments), stderr=subprocess.DEVNULL, cwd="/", **user
        )
        try:
            until = time.monotonic() + WAIT_SECONDS
            while subprocess.run(ready, check=False).returncode:
                assert time.monotonic() < until, "Postgres does not start"
                time.sleep(0.02)
            yield f"postgresql://tests@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(WAIT_SECONDS)
    finally:
        shutil.rmtree(folder)
