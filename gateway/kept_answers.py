"""Answers to requests with a key: which of them are being made, by whom, and those that are kept."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from engines.errors import StorageFailed
from gateway.database import Database
from gateway.objects import Objects
from gateway.tables import ANSWERS, JOBS, LEASES

MARGIN_SECONDS: Final = 3600
"""What has expired is kept so much longer: a clock that is set forth by an hour costs nothing."""


@dataclass(frozen=True)
class Keyed:
    """A request with a key: ``digest`` is of caller, route and key, ``fingerprint`` of all that it asks."""

    digest: str
    fingerprint: str


@dataclass(frozen=True)
class KeptAnswer:
    """An answer as it was given."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Finding(Enum):
    """Who is to work on a request that has no answer yet."""

    MINE = "mine"
    ANOTHERS = "another's"
    OTHER_REQUEST = "the key belongs to another request"


class KeptAnswers:
    """The answers of a database, with their bodies in a storage.

    ``keep_seconds`` says how long they are kept; ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        database: Database,
        objects: Objects,
        *,
        keep_seconds: Callable[[], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._objects = objects
        self._keep_seconds = keep_seconds
        self._clock = clock

    async def begin(self, known: Keyed, owner: str) -> KeptAnswer | Finding:
        """The answer to a request, or who is to make it: the first who asks, or who comes when he is dead.

        Raises:
            StorageFailed
        """
        found = await self._database.write(lambda c: self._entered(c, known, owner))
        if isinstance(found, Finding):
            return found
        body = await self._objects.read(_place(known.digest))
        if body is None:
            raise StorageFailed("read", "the answer is gone")
        return KeptAnswer(found.status, found.headers, body)

    async def keep(self, known: Keyed, owner: str, answer: KeptAnswer) -> None:
        """Keep the answer that was made.

        Raises:
            StorageFailed
        """
        await self._objects.write(_place(known.digest), answer.body)
        kept = {
            "status": answer.status,
            "headers": json.dumps(dict(answer.headers)),
            "expires_at": self._expiry(),
        }
        mine = update(ANSWERS).where(*_making(known, owner)).values(**kept)
        await self._database.write(lambda c: c.execute(mine))

    async def forget(self, known: Keyed, owner: str) -> None:
        """Let the request be worked on anew.

        Raises:
            StorageFailed
        """
        mine = delete(ANSWERS).where(*_making(known, owner))
        await self._database.write(lambda c: c.execute(mine))

    async def sweep(self) -> None:
        """Remove the answers that were kept long enough.

        Raises:
            StorageFailed
        """
        due = ANSWERS.c.expires_at < self._clock() - MARGIN_SECONDS
        idle = ANSWERS.c.status.is_not(None) | ANSWERS.c.owner.not_in(select(LEASES.c.id))

        async def clear(connection: AsyncConnection) -> list[str]:
            found = await connection.scalars(delete(ANSWERS).where(due, idle).returning(ANSWERS.c.digest))
            return list(found)

        for digest in await self._database.write(clear):
            await self._objects.remove(_place(digest))

    async def _entered(self, connection: AsyncConnection, known: Keyed, owner: str) -> KeptAnswer | Finding:
        wanted = select(ANSWERS).where(ANSWERS.c.digest == known.digest).with_for_update()
        row = (await connection.execute(wanted)).one_or_none()
        if row is not None and row.status is not None and row.expires_at <= self._clock() - MARGIN_SECONDS:
            await connection.execute(delete(ANSWERS).where(ANSWERS.c.digest == known.digest))
            row = None
        if row is None:
            return await self._first(connection, known, owner)
        if row.fingerprint != known.fingerprint:
            return Finding.OTHER_REQUEST
        if row.status is not None:
            return KeptAnswer(row.status, json.loads(row.headers))
        return await _taken_over(connection, row, owner)

    async def _first(self, connection: AsyncConnection, known: Keyed, owner: str) -> Finding:
        # A job of an earlier use of this key is none of this one's.
        await connection.execute(update(JOBS).where(JOBS.c.token == known.digest).values(token=None))
        fresh = {
            "digest": known.digest,
            "fingerprint": known.fingerprint,
            "owner": owner,
            "expires_at": self._expiry(),
        }
        try:
            async with connection.begin_nested():
                await connection.execute(insert(ANSWERS).values(**fresh))
        except IntegrityError:
            return Finding.ANOTHERS  # as far as can be told now: who asks again sees
        return Finding.MINE

    def _expiry(self) -> int:
        return int(self._clock()) + math.ceil(self._keep_seconds())


async def _taken_over(connection: AsyncConnection, row: Row[Any], owner: str) -> Finding:
    """The verdict on a request that is being worked on, or was by a gateway that is dead."""
    alive = await connection.scalar(select(LEASES.c.id).where(LEASES.c.id == row.owner))
    if alive is not None and row.owner != owner:
        return Finding.ANOTHERS
    await connection.execute(update(ANSWERS).where(ANSWERS.c.digest == row.digest).values(owner=owner))
    return Finding.MINE


def _making(known: Keyed, owner: str) -> tuple[Any, ...]:
    return ANSWERS.c.digest == known.digest, ANSWERS.c.owner == owner, ANSWERS.c.status.is_(None)


def _place(digest: str) -> str:
    return f"answers/{digest}"
