"""A service in a state folder of its own, through the command line, with its processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil

DEADLINE_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.05


class Deployed:
    """What was deployed into a folder; it listens on ``url``."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self._environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
            "KANDINSKY_HOME": str(folder),
            "KANDINSKY_CACHE": str(folder / "cache"),
            "HOST": "127.0.0.1",
            "PORT": str(port),
            **variables,
        }

    def command(self, *arguments: str, **variables: str) -> float:
        """Run the command line, with more variables of the environment; the seconds that it took.

        Raises:
            RuntimeError: it failed, with its last words.
        """
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

    @property
    def record(self) -> dict[str, Any]:
        """What the state folder says of the cluster."""
        record: dict[str, Any] = json.loads((self.folder / "cluster.json").read_text())
        return record

    def processes(self, title: str = "") -> Iterator[psutil.Process]:
        """The cluster's processes whose command line holds ``title``."""
        heads = {entry["pid"] for entry in self.record["head"]}
        for process in psutil.process_iter(["cmdline", "ppid"]):
            own = process.info["ppid"] in heads or process.pid in heads
            if own and title in " ".join(process.info["cmdline"] or ()):
                yield process


Kind = TypeVar("Kind", bound=Deployed)


@contextmanager
def deployed(kind: type[Kind], **variables: str) -> Iterator[Kind]:
    """A service with nothing deployed, of a kind of `Deployed`, that is stopped and forgotten at the end."""
    with tempfile.TemporaryDirectory(prefix="measured-") as folder:
        service = kind(Path(folder), variables)
        try:
            yield service
        finally:
            with suppress(RuntimeError):
                service.command("stop")


def until(look: Callable[[], bool]) -> float:
    """Poll until something is so; the seconds that it took.

    Raises:
        TimeoutError: it did not come.
    """
    started = time.perf_counter()
    while not look():
        if time.perf_counter() - started > DEADLINE_SECONDS:
            raise TimeoutError("what was waited for did not come")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - started
