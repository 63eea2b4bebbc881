"""The one who works on jobs: takes them in turn, draws them, writes down how far they are, ends them.

A job is drawn while this gateway's lease is held and its row names this gateway. What is told to stop
(cancelled, lease lost) is dropped, and ends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import orjson

from compat.errors import JobNotFound, render, row_of
from engines.calls import StepProgress
from engines.errors import (
    EngineError,
    EngineLost,
    GenerationFailed,
    LoadFailed,
    StorageFailed,
    Unavailable,
)
from gateway.callers import caller
from gateway.jobs.calls import JobCall, read
from gateway.jobs.job import DRAWING, WAITING, Answer, Job
from gateway.jobs.store import JobStore
from gateway.leases import Lease
from gateway.middleware import request_id
from gateway.objects import Objects
from gateway.rounds import Rounds
from gateway.status import State, Status
from gateway.trials import MOST_LOSSES

_logger = logging.getLogger(__name__)

AT_ONCE: Final = 2
"""Jobs of one model that are sent to it at once: one is drawn, and the next is there when it ends."""
MOST_CLAIMS: Final = 10
"""A job that was begun so often without coming to an end is the one that ends gateways."""
MOST_LOAD_FAILURES: Final = 5
"""A model that so many loads in a row have failed of has something that waiting does not cure."""
POLL_SECONDS: Final = 2.0
"""How often is looked for what other gateways have taken on, cancelled or left."""
NOTE_SECONDS: Final = 0.5
"""How often is written down how far a job is."""
AGAIN_SECONDS: Final = 1.0
"""Pause after a failure of the storage."""

Told = Callable[[Status | StepProgress | str], Awaitable[None]]
"""Takes how far a drawing is: a status, a step, or the URL of a picture of the way."""


class Draw(Protocol):
    """Makes a job's call; raises the errors that the call would be answered with."""

    async def __call__(self, call: JobCall, told: Told) -> Answer: ...


class Worker:
    """Works on the jobs of a store; ``ended`` is called whenever one has ended."""

    def __init__(
        self,
        store: JobStore,
        objects: Objects,
        lease: Lease,
        draw: Draw,
        *,
        models: Callable[[], Sequence[str]],
        keep_seconds: Callable[[], float],
        ended: Callable[[], None],
    ) -> None:
        self._store = store
        self._objects = objects
        self._lease = lease
        self._draw = draw
        self._models = models
        self._keep_seconds = keep_seconds
        self._tell_ended = ended
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._rounds = Rounds("jobs", self._work, seconds=POLL_SECONDS)
        lease.lost.append(self._drop_all)

    def start(self) -> None:
        """Begin to work."""
        self._rounds.start()

    def close(self) -> None:
        """Stop working."""
        self._rounds.close()
        self._drop_all()

    def look(self) -> None:
        """There may be something new to do."""
        self._rounds.look()

    def drop(self, job_id: str) -> None:
        """Stop drawing a job."""
        if job_id in self._running:
            self._running[job_id][1].cancel()

    def _drop_all(self) -> None:
        for _, task in self._running.values():
            task.cancel()

    async def _work(self) -> None:
        owner = await self._lease.hold()
        await self._lease.bury()
        await self._store.free()
        await self._drop_lost(owner)
        while job := await self._store.claim(owner, self._free_models()):
            self._begin(job, owner)

    def _free_models(self) -> list[str]:
        busy = Counter(model for model, _ in self._running.values())
        return [name for name in self._models() if busy[name] < AT_ONCE]

    async def _drop_lost(self, owner: str) -> None:
        """Stop drawing what was cancelled, or given to another gateway, without this one being told."""
        if self._running:
            owned = await self._store.owned(owner)
            for job_id in set(self._running) - owned:
                self.drop(job_id)

    def _begin(self, job: Job, owner: str) -> None:
        task = asyncio.create_task(self._run(job, owner))
        self._running[job.id] = job.model, task

        def over(task: asyncio.Task[None]) -> None:
            # Taken again after a lost lease, the job has another task by now.
            if self._running.get(job.id) == (job.model, task):
                del self._running[job.id]
            self.look()

        task.add_done_callback(over)

    async def _run(self, job: Job, owner: str) -> None:
        caller.set(job.caller)
        request_id.set(job.request_id)
        answer = await self._answer(job, owner)
        while self._lease.owner == owner:
            try:
                answer = await self._kept(job, answer)
                ended = await self._store.finish(job, owner, answer, keep_seconds=self._keep_seconds())
                await self._cleared(job, ended=ended)
                return
            except StorageFailed as error:
                _logger.warning("the end of %s waits for the database: %s", job.id, error)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _cleared(self, job: Job, *, ended: bool) -> None:
        """Remove what nobody needs: the call of a job that has ended, everything of one that is forgotten."""
        if ended:
            self._tell_ended()
            await self._objects.remove(call_place(job.id))
            return
        with contextlib.suppress(JobNotFound):
            await self._store.get(job.id)
            return
        await self._objects.remove_folder(folder(job.id))

    async def _answer(self, job: Job, owner: str) -> Answer:
        try:
            if job.claims > MOST_CLAIMS:
                raise GenerationFailed(
                    job.model, f"it was begun {MOST_CLAIMS} times and never came to an end"
                )
            data = await self._objects.read(call_place(job.id))
            if data is None:
                raise StorageFailed("read", "the job's call is gone")
            return await self._patiently(job, await read(data), Notes(self._store, job.id, owner))
        except EngineError as error:
            return _failed(error, job)
        except Exception as error:  # the task's outer edge: whatever it was, the job has come to its end
            _logger.exception("%s (%s) failed", job.id, job.request_id)
            return _failed(error, job)

    async def _patiently(self, job: Job, call: JobCall, notes: Notes) -> Answer:
        """Draw; what only stands in the way for now is waited for as long as a job may wait."""
        until = time.monotonic() + max(0.0, job.expires_at - job.created_at)
        hopes = Hopes()
        while True:
            try:
                return await self._draw(call, notes)
            except (Unavailable, LoadFailed) as error:
                pause = error.retry_after_seconds or AGAIN_SECONDS
                if not hopes.left_after(error) or time.monotonic() + pause > until:
                    raise
                await notes(WAITING_STATUS)
                await asyncio.sleep(pause)

    async def _kept(self, job: Job, answer: Answer) -> Answer:
        """The answer, whose body is in the storage; or why it is not."""
        if answer.status >= 400:
            return answer
        try:
            await self._objects.write(answer_place(job.id), answer.body)
        except StorageFailed as error:
            return _failed(error, job)
        return answer


class Hopes:
    """Whether it is worth drawing a job again, by all that has stood in its way."""

    def __init__(self) -> None:
        self._losses = 0
        self._load_failures = 0

    def left_after(self, error: Unavailable | LoadFailed) -> bool:
        """Take note of one more failure; says whether another try may succeed."""
        if isinstance(error, LoadFailed):
            # No client repeats it, who should read the reason; a job has the time to wait for its cure.
            self._load_failures += 1
            return self._load_failures < MOST_LOAD_FAILURES
        self._load_failures = 0
        self._losses += isinstance(error, EngineLost)
        return self._losses < MOST_LOSSES and row_of(type(error)).retry


WAITING_STATUS: Final = Status(state=State.BUSY, phase=WAITING)


class Notes:
    """What is written down of one job while it is drawn; often enough, and no oftener."""

    def __init__(self, store: JobStore, job_id: str, owner: str) -> None:
        self._store = store
        self._job_id = job_id
        self._owner = owner
        self._phase: object = None
        self._noted = 0.0

    async def __call__(self, told: Status | StepProgress | str) -> None:
        """Note how far the job is; a failure costs the note alone."""
        changes = _changes(told)
        now = time.monotonic()
        news = isinstance(told, str) or changes["phase"] != self._phase
        if not news and now - self._noted < NOTE_SECONDS:
            return
        self._noted, self._phase = now, changes.get("phase", self._phase)
        with contextlib.suppress(StorageFailed):
            await self._store.note(self._job_id, self._owner, changes)


def _changes(told: Status | StepProgress | str) -> dict[str, object]:
    match told:
        case str():
            return {"preview_url": told}
        case Status(phase=phase, progress=progress, position=place):
            ahead = None if place is None else place - 1
            return {"phase": phase or WAITING, "progress": progress if phase else None, "position": ahead}
        case StepProgress(step=step, total=total):
            share = step / total if total else None
            made = {"step": step, "total_steps": total}
            return {"phase": DRAWING, "progress": share, "position": None, **made}


def _failed(error: Exception, job: Job) -> Answer:
    rendered = render(error, request_id=job.request_id)
    return Answer(status=rendered.status, body=orjson.dumps(rendered.body))


def folder(job_id: str) -> str:
    """Where a job's bytes lie in the storage."""
    return f"jobs/{job_id}"


def call_place(job_id: str) -> str:
    """Where its call lies."""
    return f"{folder(job_id)}/call"


def answer_place(job_id: str) -> str:
    """Where the body of its answer lies."""
    return f"{folder(job_id)}/answer"
