"""Which gateways live, as they tell each other through the database they share.

A gateway counts its own row up; the others watch whether it moves, each by its own monotonic clock, so no
wall clock has a say: one that is set back or forth changes nothing. A row that stands still for too long is
removed, and whoever finds his own row gone has been given up: he lets go of all he was at. A process that
died on this very machine is known to be dead at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engines.errors import StorageFailed
from gateway.database import Database, Work
from gateway.tables import LEASES

_logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15.0
"""How long a gateway may be silent before the others take over its work."""


class Lease:
    """This gateway's life in the database. ``lost`` is called when the others have given it up.

    ``process`` names the process for others on this machine; ``monotonic`` counts seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        process: str | None = None,
    ) -> None:
        self._database = database
        self._seconds = seconds
        self._monotonic = monotonic
        self._process = process if process is not None else this_process()
        self._seen: dict[str, tuple[int, float]] = {}
        self._beaten = 0.0
        self._listed = False
        self._beating = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.owner = _new_owner()
        self.lost: list[Callable[[], None]] = []

    @property
    def held(self) -> bool:
        """Whether the others surely take this gateway for alive."""
        return self._listed and self._monotonic() - self._beaten < self._seconds * 2 / 3

    async def hold(self) -> str:
        """Make sure of being alive for the others; returns the name that work is owned under.

        Raises:
            StorageFailed
        """
        if not self.held:
            await self.beat()
        if self._task is None:
            self._task = asyncio.create_task(self._keep())
        return self.owner

    async def beat(self) -> None:
        """Tell the others of being alive; whoever has been given up begins anew, under another name.

        Raises:
            StorageFailed
        """

        async def count(connection: AsyncConnection) -> bool:
            mine = update(LEASES).where(LEASES.c.id == self.owner).values(beat=LEASES.c.beat + 1)
            return bool((await connection.execute(mine)).rowcount)

        async def enter(connection: AsyncConnection) -> None:
            row = {"id": self.owner, "beat": 0, "process": self._process}
            await connection.execute(insert(LEASES).values(row))

        async with self._beating:
            # The clock is read first: the beat is at least as young as is noted.
            now = self._monotonic()
            if self._listed and not await self._database.write(count):
                _logger.warning("this gateway was given up by another one")
                self._let_go()
            if not self._listed:
                await self._database.write(enter)
                self._listed = True
            self._beaten = now

    async def bury(self) -> None:
        """Remove the rows of gateways that are dead.

        Raises:
            StorageFailed
        """
        rows = await self._database.read(_every)
        now, living = self._monotonic(), {}
        for owner, beat, process in rows:
            if owner == self.owner:
                continue
            before = self._seen.get(owner)
            living[owner] = before if before is not None and before[0] == beat else (beat, now)
            if now - living[owner][1] > self._seconds or is_gone(process):
                _logger.warning("another gateway is dead: its work is taken over")
                await self._database.write(_removal(owner, beat))
        self._seen = living

    async def release(self) -> None:
        """Die in order: the others take over at once.

        Raises:
            StorageFailed
        """
        self._listed = False
        await self._database.write(_removal(self.owner, None))

    def close(self) -> None:
        """Tell nobody of being alive any more."""
        if self._task is not None:
            self._task.cancel()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 5)
            try:
                await self.beat()
                await self.bury()
            except StorageFailed as error:
                _logger.warning("this gateway cannot tell that it is alive: %s", error)
            if self._listed and not self.held:
                self._let_go()

    def _let_go(self) -> None:
        self._listed = False
        self.owner = _new_owner()
        for tell in self.lost:
            tell()


async def _every(connection: AsyncConnection) -> list[tuple[str, int, str | None]]:
    found = await connection.execute(select(LEASES.c.id, LEASES.c.beat, LEASES.c.process))
    return [(row.id, row.beat, row.process) for row in found]


def _removal(owner: str, beat: int | None) -> Work[None]:
    async def remove(connection: AsyncConnection) -> None:
        rows = delete(LEASES).where(LEASES.c.id == owner)
        await connection.execute(rows if beat is None else rows.where(LEASES.c.beat == beat))

    return remove


def _new_owner() -> str:
    return f"gw_{secrets.token_hex(12)}"


def this_process() -> str | None:
    """This process, as others on this machine know it; ``None`` where the system does not tell."""
    machine, born = _machine(), _birth(os.getpid())
    return None if machine is None or born is None else f"{machine} {os.getpid()} {born}"


def is_gone(process: str | None) -> bool:
    """Whether a process of this machine has surely ended; of another machine's nothing is known."""
    if process is None or process.count(" ") != 2:
        return False
    machine, number, born = process.split(" ")
    return machine == _machine() and _birth(int(number)) != born


def _machine() -> str | None:
    """This start of this machine, and which process numbers are meant: containers have their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _birth(pid: int) -> str | None:
    """When a process that lives was born, in ticks since the machine's start; numbers are used again."""
    try:
        # The name, in parentheses, may hold anything; state and birth are the 1st and 20th field behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None
