"""The jobs' rows: who may change what, and when. Each method is one transaction.

A job is somebody's while its row names an owner, and only its owner ends it. An owner whose lease is gone
loses all of them in one statement, so two never end the same job, and none is forgotten.

Who is next is decided when a job comes in: its ``turn`` is one after the caller's last, or after the
present one if that is later. Callers thus take turns, however many jobs each of them has sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from compat.errors import JobEnded, JobNotFound, TooManyJobs
from gateway.database import Database
from gateway.jobs.job import UNFINISHED, Answer, Job, Status
from gateway.jobs.rows import event, one, page, positions, rows
from gateway.tables import DELIVERIES, JOBS, LEASES

MARGIN_SECONDS: Final = 3600
"""What has expired is kept so much longer: a clock that is set forth by an hour costs nothing."""
PORTION: Final = 500
"""How many rows at most one transaction of a sweep changes: others can write between two."""


class JobStore:
    """The jobs of a database. ``clock`` gives Unix seconds."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def add(self, job: Job, *, most: int = 0) -> Job:
        """Keep a new job; where one with its token is there already, that one is returned.

        Raises:
            TooManyJobs: as many as ``most`` jobs of the caller wait; 0 for any number.
            StorageFailed
        """

        async def put(connection: AsyncConnection) -> Job:
            before = await one(connection, rows().where(JOBS.c.token == job.token)) if job.token else None
            if before is not None:
                return before
            if most and await _waiting(connection, job.caller) >= most:
                raise TooManyJobs(most)
            turn = await _next_turn(connection, job)
            try:
                async with connection.begin_nested() if job.token else _Nothing():
                    await connection.execute(insert(JOBS).values(**job.model_dump(), turn=turn))
            except IntegrityError:
                # Another gateway was quicker with the same token.
                before = await one(connection, rows().where(JOBS.c.token == job.token))
                assert before is not None
                return before
            return job

        return await self._database.write(put)

    async def get(self, job_id: str) -> Job:
        """A job's record.

        Raises:
            JobNotFound, StorageFailed
        """
        found = await self._database.read(lambda c: one(c, rows().where(JOBS.c.id == job_id)))
        if found is None:
            raise JobNotFound(job_id)
        return found

    async def page(
        self, *, caller: str | None = None, after: str | None, limit: int
    ) -> tuple[list[Job], bool]:
        """At most ``limit`` jobs, of one caller or of all, that follow the one with the id ``after``, the
        newest first; whether there are more.

        Raises:
            InvalidParameter: there is no job of this id.
            StorageFailed
        """
        return await self._database.read(lambda c: page(c, caller=caller, after=after, limit=limit))

    async def positions(self, jobs: Sequence[Job]) -> dict[str, int]:
        """How many jobs of the same model are to be drawn before each of these that is queued.

        Raises:
            StorageFailed
        """
        queued = [job.id for job in jobs if job.status == "queued"]
        return await self._database.read(lambda c: positions(c, queued)) if queued else {}

    async def claim(self, owner: str, models: Sequence[str]) -> Job | None:
        """Take the next job of one of these models; nothing where the owner's lease is gone.

        Raises:
            StorageFailed
        """

        async def take(connection: AsyncConnection) -> Job | None:
            alive = await connection.scalar(select(LEASES.c.id).where(LEASES.c.id == owner))
            waiting = rows().where(JOBS.c.status == "queued", JOBS.c.model.in_(models))
            # Postgres has other writers at the same time: they pass over the row that is locked here.
            wanted = waiting.order_by(JOBS.c.turn, JOBS.c.sequence).limit(1).with_for_update(skip_locked=True)
            job = await one(connection, wanted) if alive else None
            if job is None:
                return None
            changes = {
                "status": "in_progress",
                "owner": owner,
                "claims": job.claims + 1,
                "started_at": job.started_at or int(self._clock()),
            }
            await connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(changes))
            return job.model_copy(update=changes)

        return await self._database.write(take) if models else None

    async def free(self) -> None:
        """Put back the jobs whose owners are dead.

        Raises:
            StorageFailed
        """
        dead = JOBS.c.owner.not_in(select(LEASES.c.id))

        async def look(connection: AsyncConnection) -> bool:
            wanted = select(JOBS.c.id).where(JOBS.c.status == "in_progress", dead).limit(1)
            return await connection.scalar(wanted) is not None

        async def put_back(connection: AsyncConnection) -> None:
            lost = update(JOBS).where(JOBS.c.status == "in_progress", dead)
            await connection.execute(lost.values(status="queued", owner=None, phase=None, position=None))

        if await self._database.read(look):
            await self._database.write(put_back)

    async def note(self, job_id: str, owner: str, changes: Mapping[str, object]) -> bool:
        """Write down how far a job is; says whether it is still the owner's.

        Raises:
            StorageFailed
        """

        async def put(connection: AsyncConnection) -> bool:
            done = await connection.execute(update(JOBS).where(*_owned(job_id, owner)).values(**changes))
            return bool(done.rowcount)

        return await self._database.write(put)

    async def owned(self, owner: str) -> set[str]:
        """The ids of the jobs that an owner is at.

        Raises:
            StorageFailed
        """

        async def look(connection: AsyncConnection) -> set[str]:
            wanted = select(JOBS.c.id).where(JOBS.c.owner == owner, JOBS.c.status == "in_progress")
            return set(await connection.scalars(wanted))

        return await self._database.read(look)

    async def finish(self, job: Job, owner: str, answer: Answer, *, keep_seconds: float) -> bool:
        """End a job with its answer, and have its webhook delivered; says whether it was the owner's.

        Raises:
            StorageFailed
        """
        completed = answer.status < 400
        changes = {
            "answer_status": answer.status,
            "error": None if completed else answer.body.decode(),
            "progress": 1.0 if completed else JOBS.c.progress,
            "step": JOBS.c.total_steps if completed else JOBS.c.step,
        }
        status: Status = "completed" if completed else "failed"
        return await self._database.write(
            lambda c: self._end(c, _owned(job.id, owner), status, changes, keep_seconds=keep_seconds)
        )

    async def cancel(self, job_id: str, *, keep_seconds: float) -> Job:
        """End a job that nobody wants any more; whoever draws it will see.

        Raises:
            JobNotFound, StorageFailed
            JobEnded: there is nothing left to cancel.
        """
        unfinished = (JOBS.c.id == job_id, JOBS.c.status.in_(UNFINISHED))

        async def end(connection: AsyncConnection) -> Job:
            done = await self._end(connection, unfinished, "cancelled", {}, keep_seconds=keep_seconds)
            job = await one(connection, rows().where(JOBS.c.id == job_id))
            if job is None:
                raise JobNotFound(job_id)
            if not done:
                raise JobEnded(job_id, job.status)
            return job

        return await self._database.write(end)

    async def forget(self, job_id: str) -> None:
        """Remove a job, finished or not.

        Raises:
            JobNotFound, StorageFailed
        """

        async def remove(connection: AsyncConnection) -> None:
            if not (await connection.execute(delete(JOBS).where(JOBS.c.id == job_id))).rowcount:
                raise JobNotFound(job_id)

        await self._database.write(remove)

    async def expire(self, *, keep_seconds: float) -> bool:
        """End a portion of the jobs that have waited too long; says whether there may be more.

        Raises:
            StorageFailed
        """
        too_late = (JOBS.c.status == "queued", self._due())

        async def end(connection: AsyncConnection) -> bool:
            found = list(await connection.scalars(select(JOBS.c.id).where(*too_late).limit(PORTION)))
            for job_id in found:
                one = (JOBS.c.id == job_id, *too_late)
                await self._end(connection, one, "expired", {}, keep_seconds=keep_seconds)
            return len(found) == PORTION

        return await self._database.write(end)

    async def remove_old(self) -> list[str]:
        """Remove a portion of the jobs that were kept long enough; returns their ids.

        Raises:
            StorageFailed
        """
        old = select(JOBS.c.id).where(JOBS.c.status.not_in(UNFINISHED), self._due()).limit(PORTION)

        async def remove(connection: AsyncConnection) -> list[str]:
            return list(await connection.scalars(delete(JOBS).where(JOBS.c.id.in_(old)).returning(JOBS.c.id)))

        return await self._database.write(remove)

    def _due(self) -> ColumnElement[bool]:
        return JOBS.c.expires_at < self._clock() - MARGIN_SECONDS

    async def _end(
        self,
        connection: AsyncConnection,
        which: Sequence[Any],
        status: Status,
        changes: Mapping[str, object],
        *,
        keep_seconds: float,
    ) -> bool:
        """End the job that these conditions are true of, and put its webhook beside it."""
        now = int(self._clock())
        ended = {
            "status": status,
            "owner": None,
            "phase": None,
            "position": None,
            "ended_at": now,
            "expires_at": now + math.ceil(keep_seconds),
        }
        statement = update(JOBS).where(*which).values(**ended, **changes).returning(JOBS.c.id, JOBS.c.webhook)
        row = (await connection.execute(statement)).one_or_none()
        if row is not None and row.webhook is not None:
            await connection.execute(insert(DELIVERIES).values(event(row.id, row.webhook, status, now)))
        return row is not None


class _Nothing:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


async def _waiting(connection: AsyncConnection, caller: str) -> int:
    """How many jobs of a caller are in the queue."""
    wanted = select(func.count()).where(JOBS.c.caller == caller, JOBS.c.status == "queued")
    return int(await connection.scalar(wanted) or 0)


async def _next_turn(connection: AsyncConnection, job: Job) -> int:
    """One after the caller's last job in the queue, or after the last that was begun."""
    mine = and_(JOBS.c.status == "queued", JOBS.c.caller == job.caller)
    wanted = select(func.max(JOBS.c.turn)).where(JOBS.c.model == job.model, or_(mine, JOBS.c.claims > 0))
    return int(await connection.scalar(wanted) or 0) + 1


def _owned(job_id: str, owner: str) -> tuple[Any, ...]:
    return JOBS.c.id == job_id, JOBS.c.owner == owner, JOBS.c.status == "in_progress"
