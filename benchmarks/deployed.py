"""A service in a state folder of its own, through the command line, with its processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil


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

    def command(self, *arguments: str) -> None:
        """Run the command line."""
        command = [sys.executable, "-m", "gateway", *arguments]
        subprocess.run(command, env=self._environment, check=True, stdout=subprocess.DEVNULL)

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


@contextmanager
def deployed(name: str, **variables: str) -> Iterator[Deployed]:
    """A service that is stopped and forgotten at the end."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        service = Deployed(Path(folder), variables)
        try:
            yield service
        finally:
            with suppress(subprocess.CalledProcessError):
                service.command("stop")
