"""Requests with an ``Idempotency-Key``: however often one is sent, it is worked on once.

The first of them is worked on in a task of its own, which goes on when its client leaves. Whoever sends the
same meanwhile joins it; whoever comes later gets the stored answer. Of two gateways the database lets one
begin; where that one dies, another begins anew, and one that was taken for dead drops the work. What a
repetition may cure is not stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from compat import events
from compat.errors import AnswerLost, IdempotencyKeyReused
from compat.sources import Upload
from engines.errors import EngineError, InvalidParameter, StorageFailed
from gateway import preferences, webhooks
from gateway.answers import failure
from gateway.callers import caller
from gateway.joined_answer import JoinedAnswer
from gateway.kept_answers import Finding, KeptAnswer, KeptAnswers, Keyed
from gateway.leases import Lease
from gateway.middleware import request_id
from gateway.under_way import current

_logger = logging.getLogger(__name__)

HEADER: Final = "idempotency-key"
REPLAYED_HEADER: Final = "idempotent-replayed"
LONGEST_KEY: Final = 255
LOOK_AGAIN_SECONDS: Final = 0.25
"""How often is looked whether another gateway has finished."""
_ASKING: Final = ("accept", preferences.HEADER, webhooks.HEADER)
"""The headers that change what is answered."""
_CURABLE: Final = frozenset({202, 401, 408, 409, 425, 429, 499})
"""Statuses below 500 of answers that the same request can get another one than, a little later."""

_PLAINLY: Final = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS

Produce = Callable[[], Awaitable[Response]]
"""Works on the request."""


async def keyed(request: Request, fields: Mapping[str, Any]) -> Keyed | None:
    """What a request is known by; ``None`` where it has no key.

    Raises:
        InvalidParameter: the key cannot be one.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidParameter(HEADER, f"expected 1 to {LONGEST_KEY} characters.")
    asking = [request.headers.get(name, "") for name in _ASKING]
    return Keyed(
        hashlib.sha256("\n".join((caller.get(), request.url.path, key)).encode()).hexdigest(),
        await asyncio.to_thread(_fingerprint, asking, fields),
    )


class Idempotency:
    """The answers that are kept, and those that are being made here."""

    def __init__(self, kept: KeptAnswers, lease: Lease) -> None:
        self._kept = kept
        self._lease = lease
        self._running: dict[str, JoinedAnswer] = {}
        lease.lost.append(self._drop)

    def close(self) -> None:
        """End what is being worked on."""
        for run in self._running.values():
            run.task.cancel()

    def _drop(self) -> None:
        """This gateway was given up: another one may be working on the same."""
        for run in self._running.values():
            if run.owner is not None:
                run.task.cancel()

    async def sweep(self) -> None:
        """Forget the answers that were kept long enough.

        Raises:
            StorageFailed
        """
        await self._kept.sweep()

    async def answer(self, known: Keyed, produce: Produce) -> Response:
        """The answer to a request with a key, worked on now, joined or stored.

        Raises:
            IdempotencyKeyReused: the key came with another request before.
            StorageFailed
            AnswerLost: the work on it was dropped.
            EngineError: what ``produce`` raises.
        """
        run = self._running.get(known.digest)
        if run is None:
            return await self._begun(known, produce).response()
        if run.fingerprint != known.fingerprint:
            raise IdempotencyKeyReused
        answer = await run.response()
        answer.headers[REPLAYED_HEADER] = "true"
        return answer

    def _begun(self, known: Keyed, produce: Produce) -> JoinedAnswer:
        run = JoinedAnswer(known.fingerprint)
        run.task = asyncio.create_task(self._work(known, run, produce))
        self._running[known.digest] = run
        if (request := current.get()) is not None:
            # It goes on when its client leaves, and counts among the caller's as long.
            request.outlives(run.task)

        def over(task: asyncio.Task[bytes]) -> None:
            # Whoever comes from now on sees what is stored, not what is over.
            del self._running[known.digest]
            error = AnswerLost() if task.cancelled() else task.exception()
            if error is None:
                run.end(task.result())
            elif run.streamed and isinstance(error, EngineError):
                run.end(events.failed(error, request_id=request_id.get()))
            else:
                run.fail(error)

        run.task.add_done_callback(over)
        return run

    async def _work(self, known: Keyed, run: JoinedAnswer, produce: Produce) -> bytes:
        """Fill ``run``, save the last of its body, which is returned."""
        while True:
            # Anew each time: who waits for another gateway may be taken for dead meanwhile.
            owner = await self._lease.hold()
            found = await self._kept.begin(known, owner)
            if isinstance(found, KeptAnswer):
                break
            if found is Finding.OTHER_REQUEST:
                raise IdempotencyKeyReused
            if found is Finding.MINE and owner == self._lease.owner:
                run.owner = owner
                return await self._produced(known, owner, run, produce)
            await self._lease.bury()
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        run.begin(Response(found.body, found.status, {**found.headers, REPLAYED_HEADER: "true"}))
        return found.body

    async def _produced(self, known: Keyed, owner: str, run: JoinedAnswer, produce: Produce) -> bytes:
        lasting: KeptAnswer | None = None
        try:
            answer = await produce()
            run.begin(answer)
            if isinstance(answer, StreamingResponse):
                async for chunk in answer.body_iterator:
                    run.add(chunk.encode() if isinstance(chunk, str) else bytes(chunk))
                lasting = None if run.broken else _lasting(answer, run.body)
                return b""
            body = bytes(answer.body)
            lasting = _lasting(answer, body)
            return body
        except EngineError as error:
            told = failure(error, request_id=request_id.get())
            lasting = _lasting(told, bytes(told.body))
            raise
        finally:
            # Before anybody has the answer: whoever asks again then, asks for what is stored.
            await self._settled(known, owner, lasting)

    async def _settled(self, known: Keyed, owner: str, answer: KeptAnswer | None) -> None:
        """Keep an answer, or forget that there was a request; a failure of it costs the repetition alone."""
        try:
            if answer is None:
                await self._kept.forget(known, owner)
            else:
                await self._kept.keep(known, owner, answer)
        except StorageFailed as error:
            _logger.warning("an answer is not kept for repetitions of its request: %s", error)


def _lasting(answer: Response, body: bytes) -> KeptAnswer | None:
    """What is kept of an answer: all of one that the same request would get again, of another nothing."""
    job = answer.status_code == 202 and preferences.APPLIED_HEADER in answer.headers
    if not job and (answer.status_code >= 500 or answer.status_code in _CURABLE):
        return None
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return KeptAnswer(answer.status_code, headers, body)


def _fingerprint(asking: list[str], fields: Mapping[str, Any]) -> str:
    plain = orjson.dumps([asking, fields], default=_plain, option=_PLAINLY)
    return hashlib.sha256(plain).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Upload):
        return {"file": hashlib.sha256(value.data).hexdigest(), "name": value.filename}
    raise TypeError(type(value).__name__)
