"""Processes of a session are ended, all of them, and no other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from gateway.processes import alive, end_session, identify, session_members


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a session of its own that says a line when it is ready."""
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_a_process_that_refuses_to_end_is_killed_with_its_children() -> None:
    with running("sh", "-c", "trap '' TERM; sleep 60 & echo ready; wait; sleep 60") as process:
        identities = [identify(member) for member in session_members(process.pid)]
        assert len(identities) == 2
        assert end_session(process.pid)
        assert not any(alive(identity) for identity in identities)


def test_another_session_is_left_alone() -> None:
    with running("sh", "-c", "echo; sleep 60") as ours, running("sh", "-c", "echo; sleep 60") as other:
        end_session(ours.pid)
        assert other.poll() is None


def test_ending_a_session_without_processes_says_so() -> None:
    with running("sh", "-c", "echo") as process:
        process.wait()
        assert not end_session(process.pid)


def test_a_number_used_again_is_not_the_same_process() -> None:
    with running("sh", "-c", "echo; sleep 60") as process:
        identity = identify(psutil.Process(process.pid))
        assert alive(identity)
        assert not alive(identity.model_copy(update={"created": identity.created - 100}))
