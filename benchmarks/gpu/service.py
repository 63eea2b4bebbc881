"""The whole service, from the command line, in a state folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

DEADLINE_SECONDS: Final = 180.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Answer:
    """A picture (base64, or a failure's text), the seconds that it took, and the state before."""

    picture: str
    seconds: float
    state: str


class Service:
    """A service that runs; ``variables`` of the environment are settings."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_SECONDS)
        self._environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
            "KANDINSKY_HOME": str(folder),
            "HOST": "127.0.0.1",
            "PORT": str(port),
            **variables,
        }

    def command(self, *arguments: str, **variables: str) -> float:
        """Run the command line, and say how many seconds it took."""
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            env=self._environment | variables,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{arguments[0]} has failed: {done.stdout[-2000:]}")
        return time.perf_counter() - started

    def health(self, model: str) -> dict[str, Any]:
        """What the service says of a model."""
        answer: dict[str, Any] = self.client.get(f"/kandinsky-{model}/v1/health").raise_for_status().json()
        return answer

    def draw(self, model: str, *, edge: int, steps: int, **more: Any) -> Answer:
        """Draw one picture, holding on while the model wakes."""
        state = self.health(model)["state"]
        body = {
            "model": model,
            "prompt": "snowy mountains at night",
            "size": f"{edge}x{edge}",
            "num_inference_steps": steps,
            "seed": 7,
            "response_format": "b64_json",
        } | more
        started = time.perf_counter()
        answer = self.client.post("/v1/images/generations", json=body)
        seconds = time.perf_counter() - started
        if answer.status_code != 200:
            return Answer(f"{answer.status_code} {answer.text[:400]}", seconds, state)
        return Answer(answer.json()["data"][0]["b64_json"], seconds, state)

    def until(self, model: str, *states: str) -> float:
        """Wait until a model is in one of ``states``, and say how many seconds that took."""
        return until(lambda: self.health(model)["state"] in states)


@contextmanager
def service(**variables: str) -> Iterator[Service]:
    """A service that has nothing deployed, ended at the end."""
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        running = Service(Path(folder), variables)
        try:
            yield running
        finally:
            running.client.close()
            running.command("stop")


def until(look: Callable[[], bool]) -> float:
    """Poll until something is so.

    Raises:
        TimeoutError: it did not come.
    """
    started = time.perf_counter()
    while not look():
        if time.perf_counter() - started > DEADLINE_SECONDS:
            raise TimeoutError("what was waited for did not come")
        time.sleep(_POLL_SECONDS)
    return time.perf_counter() - started
