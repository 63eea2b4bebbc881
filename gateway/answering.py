"""Where a request is answered: by an engine of this gateway, by another server, or by a fallback.

This is the one place that tells them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from starlette.responses import Response

from compat.requests import requested_model
from engines.errors import EngineError, LoadFailed
from gateway.drawing import relayed
from gateway.registry import Entry, ModelEntry
from gateway.remote_calls import ImagesCall, NativeCall, with_files_inside
from gateway.remotes import RemoteEntry
from gateway.service import Service

_logger = logging.getLogger(__name__)

FALLBACK_HEADER: Final = "x-kandinsky-fallback"
"""Names the model that answered in the place of the one that was asked."""

P = TypeVar("P")


async def answer(
    service: Service,
    call: ImagesCall,
    *,
    prepare: Callable[[ModelEntry], Awaitable[P]],
    draw: Callable[[ModelEntry, P], Awaitable[Response]],
    patient: bool = False,
) -> Response:
    """Answer a call of OpenAI's image routes.

    ``prepare`` reads and maps the request for a model of ours, and refuses what it cannot take;
    ``draw`` runs what was prepared. A fallback answers only what it can take: where it refuses or
    fails, the call is held for its own model. ``patient`` calls want no fallback.
    """
    entry = service.models.resolve(requested_model(call.body, policy=service.settings.policy, form=call.form))
    if isinstance(entry, RemoteEntry):
        return await _passed_on(service, entry, call)
    prepared = await prepare(entry)
    fallback = None if patient else await _fallback(service, entry)
    if fallback is not None:
        try:
            answered = await _by_fallback(service, fallback, call, prepare, draw)
        except EngineError as error:
            _logger.info("%s does not stand in for %s: %s", fallback.name, entry.name, error)
        else:
            answered.headers[FALLBACK_HEADER] = fallback.name
            return answered
    return await draw(entry, prepared)


async def answer_native(
    service: Service,
    entry: Entry,
    call: NativeCall,
    *,
    here: Callable[[ModelEntry], Awaitable[Response]],
) -> Response:
    """Answer a call of a model's native routes; they have no fallback, whose parameters are others."""
    if isinstance(entry, RemoteEntry):
        call, seconds = call.without_timeout()
        return await relayed(entry, service.remote(entry.name).native(call), seconds)
    return await here(entry)


async def _fallback(service: Service, entry: ModelEntry) -> Entry | None:
    """The model that answers now in the place of one that is being woken."""
    found = service.fallback(entry)
    if found is not None:
        with suppress(LoadFailed):
            if await service.wake_unless_ready(entry.name) is None:
                return None
    return found


async def _by_fallback(
    service: Service,
    fallback: Entry,
    call: ImagesCall,
    prepare: Callable[[ModelEntry], Awaitable[P]],
    draw: Callable[[ModelEntry, P], Awaitable[Response]],
) -> Response:
    if isinstance(fallback, RemoteEntry):
        return await _passed_on(service, fallback, call)
    return await draw(fallback, await prepare(fallback))


async def _passed_on(service: Service, entry: RemoteEntry, call: ImagesCall) -> Response:
    call, seconds = call.without_timeout()
    answer = service.remote(entry.name).images(await with_files_inside(call, service.files.read))
    return await relayed(entry, answer, seconds)
