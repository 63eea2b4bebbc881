"""The jobs of a gateway: taken on, asked for, cancelled, fetched, forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Final

import orjson

from compat.errors import JobNotFound
from engines.errors import EngineError, StorageFailed
from gateway.callers import caller
from gateway.database import Database
from gateway.jobs.calls import JobCall, written
from gateway.jobs.job import Answer, Job
from gateway.jobs.store import JobStore
from gateway.jobs.work import Draw, Worker, answer_place, call_place, folder
from gateway.leases import Lease
from gateway.objects import Objects

LOOK_AGAIN_SECONDS: Final = 1.0
"""How often a job is looked at that another gateway may be at."""


class Jobs:
    """The jobs of a database, with what they draw and have drawn in the storage.

    ``draw`` makes a job's call, ``models`` says which models can be drawn with here, ``keep_seconds`` how
    long a job may wait and is kept, ``most`` how many of one caller may wait (0: any number), ``private``
    whether callers see their own jobs alone; ``told`` is called where a job has ended. ``clock`` gives Unix
    seconds.
    """

    def __init__(
        self,
        database: Database,
        objects: Objects,
        lease: Lease,
        draw: Draw,
        *,
        models: Callable[[], Sequence[str]],
        keep_seconds: Callable[[], float],
        most: Callable[[], int],
        private: Callable[[], bool],
        told: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects = objects
        self._keep_seconds = keep_seconds
        self._most = most
        self._private = private
        self._told = told
        self._store = JobStore(database, clock=clock)
        self._worker = Worker(
            self._store, objects, lease, draw, models=models, keep_seconds=keep_seconds, ended=self._ended
        )
        self._news = asyncio.Event()

    def start(self) -> None:
        """Begin to work, on what an earlier gateway has left first."""
        self._worker.start()

    def close(self) -> None:
        """Stop working; what is unfinished stays so."""
        self._worker.close()

    async def submit(self, job: Job, call: JobCall) -> Job:
        """Take a job on; where one with its token was taken on before, that one is returned.

        Raises:
            TooManyJobs: of the caller are waiting.
            StorageFailed
        """
        await self._objects.write(call_place(job.id), await written(call))
        try:
            taken = await self._store.add(job, most=self._most())
        except EngineError:
            await self._discard(job.id)
            raise
        if taken.id != job.id:
            await self._discard(job.id)
        self.start()
        self._worker.look()
        return taken

    async def get(self, job_id: str) -> Job:
        """A job's record.

        Raises:
            JobNotFound, StorageFailed
        """
        job = await self._store.get(job_id)
        if self._whose() not in (None, job.caller):
            raise JobNotFound(job_id)
        return job

    async def shown(self, job: Job) -> bytes:
        """A job as JSON, with its result.

        Raises:
            StorageFailed
        """
        positions = await self._store.positions([job])
        result = None
        if job.status == "completed" and (answer := await self.answer(job)) is not None:
            result = orjson.Fragment(answer.body)
        return orjson.dumps(job.as_json(position=positions.get(job.id)) | {"result": result})

    async def page(self, *, after: str | None, limit: int) -> dict[str, object]:
        """A page of the jobs, the newest first, without their results.

        Raises:
            InvalidParameter: there is no job with the id ``after``.
            StorageFailed
        """
        jobs, more = await self._store.page(caller=self._whose(), after=after, limit=limit)
        positions = await self._store.positions(jobs)
        return {
            "object": "list",
            "data": [job.as_json(position=positions.get(job.id)) for job in jobs],
            "first_id": jobs[0].id if jobs else None,
            "last_id": jobs[-1].id if jobs else None,
            "has_more": more,
        }

    async def answer(self, job: Job) -> Answer | None:
        """What the call of an ended job is answered with; ``None`` where there was none.

        Raises:
            StorageFailed
        """
        if job.answer_status is None:
            return None
        if job.error is not None:
            return Answer(status=job.answer_status, body=job.error.encode())
        body = await self._objects.read(answer_place(job.id))
        if body is None:
            raise StorageFailed("read", "the result is gone")
        return Answer(status=job.answer_status, body=body)

    async def until_ended(self, job: Job, seconds: float) -> Job:
        """The job as it is once it has ended, or after so many seconds.

        Raises:
            JobNotFound, StorageFailed
        """
        until = time.monotonic() + seconds
        while not job.ended and (rest := until - time.monotonic()) > 0:
            news = self._news
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(rest, LOOK_AGAIN_SECONDS)):
                    await news.wait()
            job = await self.get(job.id)
        return job

    async def cancel(self, job_id: str) -> Job:
        """End a job; what draws it stops within a step.

        Raises:
            JobNotFound, StorageFailed
            JobEnded: there is nothing left to cancel.
        """
        await self.get(job_id)
        job = await self._store.cancel(job_id, keep_seconds=self._keep_seconds())
        self._worker.drop(job_id)
        self._ended()
        return job

    async def forget(self, job_id: str) -> None:
        """Remove a job and what it has drawn, ending it if need be.

        Raises:
            JobNotFound, StorageFailed
        """
        await self.get(job_id)
        await self._store.forget(job_id)
        self._worker.drop(job_id)
        await self._objects.remove_folder(folder(job_id))

    async def sweep(self) -> None:
        """Remove the jobs that were kept long enough.

        Raises:
            StorageFailed
        """
        while await self._store.expire(keep_seconds=self._keep_seconds()):
            pass
        while removed := await self._store.remove_old():
            for job_id in removed:
                await self._objects.remove_folder(folder(job_id))
        self._told()

    def _whose(self) -> str | None:
        """Whose jobs the present request may see; ``None``: everybody's."""
        return caller.get() if self._private() else None

    def _ended(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
        self._told()

    async def _discard(self, job_id: str) -> None:
        with contextlib.suppress(StorageFailed):
            await self._objects.remove_folder(folder(job_id))
