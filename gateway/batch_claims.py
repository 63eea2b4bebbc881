"""Which gateway works on which batch: a row for each batch that has not ended, with its owner.

An owner whose lease is gone owns nothing, so its batches are free for whoever asks next.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Select, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.batch import Batch
from gateway.database import Database
from gateway.tables import BATCHES, LEASES

_LIVING: Final = select(LEASES.c.id)


class BatchClaims:
    """The batches of a database that wait or are worked on. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch: Batch) -> None:
        """Let a batch be worked on; one that is there already stays as it is.

        Raises:
            StorageFailed
        """
        row = {"id": batch.id, "created_at": batch.created_at}

        async def put(connection: AsyncConnection) -> None:
            with suppress(IntegrityError):
                async with connection.begin_nested():
                    await connection.execute(insert(BATCHES).values(row))

        await self._database.write(put)

    async def any(self) -> bool:
        """Whether there are batches; a database that nobody has made yet is not made for that.

        Raises:
            StorageFailed
        """
        if not self._database.exists:
            return False
        wanted = select(BATCHES.c.id).limit(1)
        return await self._database.read(lambda c: c.scalar(wanted)) is not None

    async def claim(self, owner: str) -> str | None:
        """Take the oldest batch that no other living gateway is at; none where the owner's lease is gone.

        Raises:
            StorageFailed
        """

        async def take(connection: AsyncConnection) -> str | None:
            if await connection.scalar(_LIVING.where(LEASES.c.id == owner)) is None:
                return None
            found: str | None = await connection.scalar(_free(owner))
            if found is not None:
                mine = update(BATCHES).where(BATCHES.c.id == found).values(owner=owner)
                await connection.execute(mine)
            return found

        return await self._database.write(take)

    async def holds(self, batch_id: str, owner: str) -> bool:
        """Whether a batch is this owner's still.

        Raises:
            StorageFailed
        """
        mine = (BATCHES.c.id == batch_id, BATCHES.c.owner == owner, BATCHES.c.owner.in_(_LIVING))
        return await self._database.read(lambda c: c.scalar(select(BATCHES.c.id).where(*mine))) is not None

    async def remove(self, batch_id: str) -> None:
        """Forget a batch that has ended.

        Raises:
            StorageFailed
        """
        await self._database.write(lambda c: c.execute(delete(BATCHES).where(BATCHES.c.id == batch_id)))


def _free(owner: str) -> Select[Any]:
    # Its owner's own: one that a failure of the storage made it let go of.
    free = or_(BATCHES.c.owner.is_(None), BATCHES.c.owner == owner, BATCHES.c.owner.not_in(_LIVING))
    oldest = select(BATCHES.c.id).where(free).order_by(BATCHES.c.created_at, BATCHES.c.id).limit(1)
    # Postgres has other writers at the same time: they pass over the row that is locked here.
    return oldest.with_for_update(skip_locked=True)
