"""A gateway in a process of its own, which a test may kill: ``python -m tests.gateway.alone FOLDER``."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.app import create_app
from gateway.settings import Settings
from tests.gateway import in_process
from tests.gateway.conftest import demo_config
from tests.gateway.listening import listening


@contextmanager
def alone(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves the demo model and keeps everything in a folder, and its address."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


async def serve(folder: str) -> None:
    """Serve until the process is ended, or nobody is left at the other end of its input."""
    config = demo_config().model_copy(update={"settings": Settings(state_folder=folder)})
    async with listening(create_app(in_process.service(config))) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
