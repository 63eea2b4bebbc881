"""The requests that are under way: whose they are, how far they have come, and how one is ended.

A request is entered when its head has come and leaves when its answer has been sent, a stream at its last
event; one that is worked on although its client has left, when that is over. Its id is no secret, so a caller
sees and ends its own alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final, TypeVar

from compat.errors import CallerBusy, RequestNotFound
from engines.calls import EngineEvent, EngineResult, StepProgress
from engines.errors import DeadlineExceeded, GenerationStopped
from gateway.deadlines import deadline, least
from gateway.native_answers import RequestRow
from gateway.pace import USUAL_SECONDS, moved
from gateway.settings import Settings
from gateway.status import State, Status

RATE: Final = tuple(f"x-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset"))
"""OpenAI's headers on what is left of a caller's limit."""
T = TypeVar("T")


class Stage(StrEnum):
    """Where a request stands."""

    WAITING = "waiting"
    """For its body, for the model, or for its turn."""
    RUNNING = "running"
    STOPPED = "stopped"


class Request:
    """One request.

    ``model`` is known once the body is read, ``step`` of ``total`` where the way is told. ``look`` tells
    where the request stands once it has a place in the model's line. ``finished`` says that what was asked
    for was made. ``seconds`` is how long it may take, as far as its head says.
    """

    def __init__(self, identity: str, caller: str, seconds: float | None = None) -> None:
        self.id = identity
        self.caller = caller
        self.model: str | None = None
        self.created = time.time()
        self.look: Callable[[], Status] | None = None
        self.step: int | None = None
        self.total: int | None = None
        self.finished = False
        self._started = time.monotonic()
        self._stopped = False
        self._allowed = seconds
        self._until: float | None = None
        self._scopes: set[asyncio.Timeout] = set()
        self._work: asyncio.Task[Any] | None = None
        self._ended_while = ""

    @property
    def stage(self) -> Stage:
        """Where it stands."""
        if self._stopped:
            return Stage.STOPPED
        worked_on = self.look is not None and self.look().position is None
        return Stage.RUNNING if worked_on else Stage.WAITING

    @property
    def elapsed_seconds(self) -> float:
        """How long it has been under way."""
        return time.monotonic() - self._started

    @property
    def remaining_seconds(self) -> float | None:
        """How long it may still take, ``None`` where nobody has said."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def begin(self, model: str, seconds: float | None) -> None:
        """Note what the body says: the model, and how long the call may take.

        The time counts from here, the upload is not in it. A second beginning, by another model in the
        place of the first, does not start it anew.
        """
        self.model = model
        if self._until is None:
            self._allowed = least(self._allowed, seconds)
            self._until = None if self._allowed is None else time.monotonic() + self._allowed

    def outlives(self, work: asyncio.Task[Any]) -> None:
        """Count the request as long as this is worked on, also when its client has left."""
        self._work = work

    def when_over(self, leave: Callable[[], None]) -> None:
        """Call ``leave`` once nothing is worked on for the request; at once where nothing is."""
        if self._work is None or self._work.done():
            leave()
        else:
            self._work.add_done_callback(lambda _: leave())

    def saw(self, event: EngineEvent | Status) -> None:
        """Take note of how far the request has come."""
        if isinstance(event, StepProgress):
            self.step, self.total = event.step, event.total
        self.finished = self.finished or isinstance(event, EngineResult)

    def stop(self) -> None:
        """End the request: what it waits for now, or next, raises `GenerationStopped`."""
        if not self.finished:
            self._stopped = True
            self._end()

    async def within(self, work: Awaitable[T]) -> T:
        """Wait for ``work``, no longer than the request may take; it is cancelled where that is over.

        Several may wait at once: for an answer, and in a task of its own for what makes it.

        Raises:
            DeadlineExceeded, GenerationStopped
        """
        token = deadline.set(self._until)
        rest = 0.0 if self._stopped else self.remaining_seconds
        timer = None if rest is None else asyncio.get_running_loop().call_later(rest, self._end)
        try:
            async with asyncio.timeout(None) as scope:
                self._scopes.add(scope)
                return await work
        except TimeoutError:
            if not scope.expired():
                raise
            raise self._ending() from None
        finally:
            self._scopes.discard(scope)
            deadline.reset(token)
            if timer is not None:
                timer.cancel()

    def row(self) -> RequestRow:
        """What a caller is told of it."""
        rest = self.remaining_seconds
        seen = self.look() if self.look is not None else None
        return {
            "id": self.id,
            "object": "request",
            "model": self.model,
            "state": self.stage.value,
            "position": seen.position if seen is not None else None,
            "step": self.step,
            "total": self.total,
            "created_at": int(self.created),
            "elapsed_seconds": round(self.elapsed_seconds, 2),
            "remaining_seconds": None if rest is None else round(rest, 2),
        }

    def _end(self) -> None:
        """Cancel what is waited for; what that is can be told only before."""
        self._ended_while = self._doing()
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(now)

    def _ending(self) -> DeadlineExceeded | GenerationStopped:
        if self._stopped or self._allowed is None:
            return GenerationStopped(self.model, self.step)
        return DeadlineExceeded(self._allowed, self._ended_while, self.step, self.total)

    def _doing(self) -> str:
        seen = self.look() if self.look is not None else None
        if seen is None:
            return "not yet in the model's line"
        if seen.position is None:
            return "drawing"
        if seen.state in (State.READY, State.BUSY):
            return f"waiting for its turn, at place {seen.position}"
        return "waiting for the model to be loaded"


current: contextvars.ContextVar[Request | None] = contextvars.ContextVar("current", default=None)
"""The request being worked on, where it is one that draws."""


class UnderWay:
    """All requests of this gateway that draw. ``settings`` is asked at every request."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._requests: list[Request] = []
        self._usual: dict[str, float] = {}

    @contextmanager
    def entered(self, identity: str, caller: str, seconds: float | None = None) -> Iterator[Request]:
        """Count a request while this lasts, and make it the `current` one.

        Raises:
            CallerBusy: the caller has as many as it may have.
        """
        limit = self._settings().max_concurrent_per_key
        own = self.of(caller)
        if limit and len(own) >= limit:
            raise CallerBusy(limit, min(map(self._rest, own)))
        request = Request(identity, caller, seconds)
        self._requests.append(request)
        token = current.set(request)
        try:
            yield request
        finally:
            current.reset(token)
            request.when_over(lambda: self._left(request))

    def of(self, caller: str, model: str | None = None) -> list[Request]:
        """The requests of a caller, the oldest first; of one model where it is named."""
        return [each for each in self._requests if each.caller == caller and model in (None, each.model)]

    def find(self, caller: str, identity: str, model: str | None = None) -> list[Request]:
        """The requests of a caller with this id: one, unless the caller has given it to several.

        Raises:
            RequestNotFound
        """
        found = [each for each in self.of(caller, model) if each.id == identity]
        if not found:
            raise RequestNotFound(identity)
        return found

    def rate_headers(self, caller: str) -> dict[str, str]:
        """OpenAI's headers on the caller's limit; none where there is no limit."""
        limit = self._settings().max_concurrent_per_key
        if not limit:
            return {}
        own = self.of(caller)
        reset = max(map(self._rest, own), default=0.0)
        values = str(limit), str(max(0, limit - len(own))), _duration(reset)
        return dict(zip(RATE, values, strict=True))

    def _left(self, request: Request) -> None:
        self._requests.remove(request)
        self._learn(request)

    def _rest(self, request: Request) -> float:
        """How long a request will probably still take, by how long others of its model took."""
        usual = self._usual.get(request.model or "", USUAL_SECONDS)
        return max(0.0, usual - request.elapsed_seconds)

    def _learn(self, request: Request) -> None:
        if request.finished and request.model is not None:
            seconds = request.elapsed_seconds
            usual = self._usual.setdefault(request.model, seconds)
            self._usual[request.model] = moved(usual, seconds)


def _duration(seconds: float) -> str:
    """A time as OpenAI writes it: ``120ms``, ``1s``, ``6m0s``."""
    if seconds < 1:
        return f"{round(1000 * seconds)}ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
