"""One real service for all tests of this folder: `python -m gateway deploy`, in a state folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psutil
import pytest

DEADLINE_SECONDS = 90.0
NO_VARIABLES: Mapping[str, str] = {}

T = TypeVar("T")


class RunningService:
    """A deployed gateway with its command line, its processes and a client."""

    def __init__(self, home: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx2.Client(base_url=self.url, timeout=DEADLINE_SECONDS)
        self._environment = {
            name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "KANDINSKY_HOME")
        } | {
            "KANDINSKY_HOME": str(home),
            "KANDINSKY_CACHE": str(home / "cache"),
            "PORT": str(port),
            "HOST": "127.0.0.1",
        }
        self._home = home

    def command(
        self, *arguments: str, check: bool = True, variables: Mapping[str, str] = NO_VARIABLES
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line, with these variables of the environment besides the service's own."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            env={**self._environment, **variables},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def deploy(
        self, path: Path | None, name: str, *options: str, variables: Mapping[str, str] = NO_VARIABLES
    ) -> None:
        """Deploy a model with one torch thread: two on two busy cores take ten times as long."""
        place = () if path is None else (str(path),)
        self.command("deploy", *place, "--model-name", name, "--threads", "1", *options, variables=variables)

    def health(self, model: str) -> dict[str, object]:
        """The model's native health answer."""
        answer: dict[str, object] = self.client.get(f"/kandinsky-{model}/v1/health").raise_for_status().json()
        return answer

    def until(self, model: str, state: str) -> dict[str, object]:
        """Poll until the model is in ``state``."""
        return until(lambda: self.health(model), lambda seen: seen["state"] == state)

    def process(self, title: str) -> psutil.Process:
        """The process of this service's cluster whose title holds ``title``."""
        found = next(self.processes(title), None)
        assert found is not None, f"no process called {title}"
        return found

    def has_process(self, title: str, *, other_than: int) -> bool:
        """Whether there is one besides that with the process id ``other_than``."""
        return any(process.pid != other_than for process in self.processes(title))

    @property
    def logs(self) -> Path:
        """The folder of Ray's logs."""
        return Path(self._record["temporary"]) / "session_latest" / "logs"

    @property
    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self._home / "cluster.json").read_text())
        return record

    def processes(self, title: str) -> Iterator[psutil.Process]:
        """The processes of this service's cluster whose titles hold ``title``."""
        heads = {entry["pid"] for entry in self._record["head"]}
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or ())
            with contextlib.suppress(psutil.NoSuchProcess):
                if title in line and heads & {parent.pid for parent in process.parents()}:
                    yield process


def until(look: Callable[[], T], done: Callable[[T], bool]) -> T:
    """Look again and again until ``done``, for at most `DEADLINE_SECONDS`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        seen = look()
        if done(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = RunningService(tmp_path_factory.mktemp("home"), port)
    try:
        # Two cores have enough to do; the test of the spares asks for one.
        running.deploy(
            None, "demo", "--alias", "*", "--alias", "dall-e-3", variables={"KANDINSKY_SPARE_ENGINES": "0"}
        )
        yield running
    finally:
        running.client.close()
        running.command("stop", check=False)


@pytest.fixture(scope="session")
def deployed(service: RunningService, tiny_models: Callable[[str], Path]) -> Callable[[str], str]:
    """Deploys a tiny model on first use; returns the name it is served under."""
    names: dict[str, str] = {}

    def name_of(kind: str) -> str:
        if kind not in names:
            service.deploy(tiny_models(kind), f"tiny-{kind}")
            names[kind] = f"tiny-{kind}"
        return names[kind]

    return name_of


@pytest.fixture(scope="session")
def broken_model(tiny_models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights do not fit its configuration: found out only when it is loaded."""
    folder = tmp_path_factory.mktemp("broken") / "model"
    shutil.copytree(tiny_models("kandinsky3"), folder)
    config = folder / "unet" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"block_out_channels": [32, 96]}))
    return folder
