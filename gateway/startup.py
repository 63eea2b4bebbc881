"""Why an engine does not start, where Serve knows it: its node lacks the program, or its process dies.

Serve starts such an engine again about once a second, for ever, and a call to it hangs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from ray import serve

from engines.errors import LoadFailed
from gateway.lifecycle import WHO_KILLS

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
"""How long a waking is silent before Serve is asked, and between two questions."""
STARTUP_FAILED: Final = "REPLICA_STARTUP_FAILED"
"""Serve's word for it."""
IMPORT_FAILURES: Final = ("ModuleNotFoundError", "ImportError")

T = TypeVar("T")
Look = Callable[[], Awaitable[str | None]]


async def unless_failing(
    model: str, events: AsyncIterator[T], look: Look, *, seconds: float = LOOK_SECONDS
) -> AsyncGenerator[T]:
    """The events of a waking; until the first has come, ``look`` tells what is in its way.

    Raises:
        LoadFailed: with what ``look`` found.
    """
    first = asyncio.ensure_future(_first(events))
    try:
        while not (await asyncio.wait([first], timeout=seconds))[0]:
            if reason := await look():
                raise LoadFailed(model, reason)
    finally:
        first.cancel()
    for event in first.result():
        yield event
        async for later in events:
            yield later


async def startup_fault(application: str, deployment: str) -> str | None:
    """What Serve says of an engine that does not start, in words; ``None`` where it has no complaint."""
    overview = (await asyncio.to_thread(serve.status)).applications.get(application)
    found = None if overview is None else overview.deployments.get(deployment)
    # A model that merely waits for a node is unhealthy, too, where its last engine has died.
    if found is None or found.status_trigger.value != STARTUP_FAILED:
        return None
    _logger.warning("%s does not start: %s", application, found.message)
    return fault_in(found.message)


def fault_in(message: str) -> str:
    """The reason for a client: of Serve's message, which is mostly a traceback, what the last line says.

    Only what was not found is told in its own words; others may hold paths.
    """
    kind, _, words = message.strip().rpartition("\n")[2].partition(":")
    if kind in IMPORT_FAILURES:
        return (
            f"its engine does not start:{words}. This program must be installed, in one version, on every "
            "machine of the cluster on which engines may run"
        )
    what = kind.rpartition(".")[2]
    if what.isidentifier():
        return f"its engine does not start: {what}; the log of the gateway says more"
    return f"its engine does not start: its process dies; {WHO_KILLS}"


async def _first(events: AsyncIterator[T]) -> tuple[T, ...]:
    """The first event, or nothing: a task cannot end in ``StopAsyncIteration``."""
    async for event in events:
        return (event,)
    return ()
