"""Processes of a Unix session: which live, and how they are ended without touching any other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import Final

import psutil

from gateway.state import ProcessId

GRACE_SECONDS: Final = 1.0
"""How long processes have to end by themselves before they are killed. Ray's would wait for each other
for ten seconds and more, and have nothing to save."""
KILL_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.05


def identify(process: psutil.Process) -> ProcessId:
    """A process's number and time of birth."""
    return ProcessId(pid=process.pid, created=process.create_time())


def alive(identity: ProcessId) -> bool:
    """Whether this very process still runs; one that has ended and is not collected does not."""
    try:
        process = psutil.Process(identity.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # The time of birth is computed from the boot time, which drifts by hundredths.
        return abs(process.create_time() - identity.created) < 1
    except psutil.Error:
        return False


def session_members(session: int) -> list[psutil.Process]:
    """The living processes of a session, the leader's children and those they left behind."""
    return [
        process for process in psutil.process_iter() if _session(process.pid) == session and _lives(process)
    ]


def end_session(session: int) -> bool:
    """End every process of a session and their descendants; say whether there were any.

    They are asked first and killed after `GRACE_SECONDS`; looked for again, because a supervisor
    among them may have started another one meanwhile.
    """
    any_found = False
    while members := session_members(session):
        any_found = True
        victims = _with_descendants(members)
        _signal(victims, signal.SIGTERM)
        left = _survivors(victims, GRACE_SECONDS)
        _signal(left, signal.SIGKILL)
        if _survivors(left, KILL_SECONDS):
            break
    return any_found


def _survivors(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still live after this time. One that has ended counts as gone also where nobody
    collects it, as under the first process of many containers."""
    deadline = time.monotonic() + seconds
    while left := [process for process in processes if _lives(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return left


def _with_descendants(members: Iterable[psutil.Process]) -> list[psutil.Process]:
    """A program that an engine runs may have made a session of its own."""
    found = {}
    for member in members:
        try:
            for process in (member, *member.children(recursive=True)):
                found[process.pid] = process
        except psutil.NoSuchProcess:
            continue
    found.pop(os.getpid(), None)
    return list(found.values())


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            # psutil looks at the time of birth first, so that a number used again is spared.
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
