"""A process in which nothing can move any more ends by itself; one that computes does not."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, ctypes, sys, time
from engines.heartbeat import Heartbeat

async def main():
    heartbeat = Heartbeat(0.5)
    heartbeat.start()
    await asyncio.sleep(0)
    if sys.argv[1] == "held":
        ctypes.PyDLL(None).sleep(60)  # the lock is not let go
    await asyncio.get_running_loop().run_in_executor(None, compute)
    heartbeat.stop()

def compute():
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        sum(range(1000))

asyncio.run(main())
"""


def run(how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=50, check=False
    )


def test_a_process_whose_lock_is_held_for_ever_ends_and_says_where() -> None:
    held = run("held")
    assert held.returncode == 1
    assert "Timeout" in held.stderr
    assert "main" in held.stderr


def test_a_process_that_computes_in_a_thread_goes_on() -> None:
    assert run("computing").returncode == 0
