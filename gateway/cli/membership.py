"""``join`` and ``leave``: this machine as a node of another one's cluster."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from gateway import membership
from gateway.cli.deploy import amounts
from gateway.cli.foreground import stay
from gateway.cli.progress import Progress
from gateway.membership import Membership
from gateway.problems import Problem
from gateway.state import StateFolder, state_root

LEAVE_SECONDS = 300


class Member:
    """This machine as something that can be ended."""

    def __init__(self, state: StateFolder, report: Progress) -> None:
        self._state = state
        self._report = report

    def join(self, wanted: Membership, token_file: Path | None) -> None:
        """Become a node, and say so.

        Raises:
            Problem: it cannot be done, in words.
        """
        token = None if token_file is None else _token(token_file)
        self._state.prepare()
        with self._locked(), self._report.step(f"Joining {wanted.address}"):
            membership.join(self._state, wanted, token=token, environment=os.environ)
        print(f"This machine is a node of {wanted.address}.", flush=True)

    def leave(self, seconds: int) -> bool:
        """Leave the cluster, and say whether this machine was in one."""
        self._state.prepare()
        with self._locked(), self._report.step("Leaving"):
            return membership.leave(self._state, seconds=seconds, environment=os.environ)

    def is_up(self) -> bool:
        """Whether this machine still is a node."""
        return membership.is_member(self._state)

    def stop(self) -> bool:
        """Leave as `leave` does by itself."""
        return self.leave(LEAVE_SECONDS)

    def _locked(self) -> AbstractContextManager[None]:
        return self._state.locked(lambda: self._report.say("Another command is at work; waiting for it."))


def join(
    address: str,
    *,
    token_file: Path | None,
    node_ip: str | None,
    resources: tuple[str, ...],
    num_gpus: float | None,
    foreground: bool,
) -> None:
    """Join a cluster, and stay if asked to.

    Raises:
        Problem: it cannot be done, in words.
    """
    wanted = Membership(address=address, node_ip=node_ip, resources=amounts(resources), num_gpus=num_gpus)
    member = member_of_here()
    member.join(wanted, token_file)
    if foreground:
        stay(member)


def member_of_here() -> Member:
    """This machine, with the state folder that the environment names."""
    return Member(StateFolder(state_root(os.environ)), Progress())


def _token(file: Path) -> str:
    try:
        token = sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise Problem(f"the token cannot be read from {file}: {error.strerror}") from error
    if not token.strip():
        raise Problem(f"there is no token in {file}")
    return token.strip()
