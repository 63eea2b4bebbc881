"""Calls to engines over Ray Serve handles, with the errors of the way translated."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from ray.exceptions import (
    ActorUnschedulableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    PlasmaObjectNotAvailable,
    RayActorError,
    RayChannelError,
    RayError,
    RaySystemError,
    RayTaskError,
    RpcError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from engines import presence
from engines.calls import EngineCall, EngineEvent, EngineResult, LoadProgress
from engines.deployment import DEPLOYMENT
from engines.errors import (
    EngineBusy,
    EngineError,
    EngineLost,
    GenerationFailed,
    HostMemoryExhausted,
    LoadFailed,
)
from gateway.deadlines import timed
from gateway.deployments import application_name
from gateway.startup import startup_fault, unless_failing

_logger = logging.getLogger(__name__)

LOST: Final = (
    # The engine's process has died or its node cannot be reached.
    RayActorError,
    NodeDiedError,
    WorkerCrashedError,
    LocalRayletDiedError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    # Its answer was made and has gone with its node: drawn again, it is the same picture.
    ObjectLostError,
    PlasmaObjectNotAvailable,
    # The way was cut. A cancellation that is not ours is the end of a replica.
    RpcError,
    RayChannelError,
    RaySystemError,
    TaskCancelledError,
    ActorUnschedulableError,
)
"""What another engine cures."""


class ServeEngine:
    """A model's engine on Ray Serve, through one cached handle."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._application = application_name(model)
        # Made directly: `serve.get_deployment_handle` refuses a deployment that is still being built,
        # which a model's is when the gateway first hears of it.
        handle: DeploymentHandle[Any] = DeploymentHandle(DEPLOYMENT, self._application)
        # Asking for options starts the handle's router, which tells `presence` within milliseconds.
        # Any: Ray types the answer of a streaming handle as either kind of response, and `cancel` not at all.
        self._generate: Any = handle.options(method_name="generate")
        self._warm: Any = handle.options(method_name="warm", stream=True)
        self._stream: Any = handle.options(method_name="stream", stream=True)
        self._release = handle.options(method_name="release")
        self._park = handle.options(method_name="park")

    def running(self) -> bool:
        """Whether a replica runs, as last pushed by Serve's controller (no call is made)."""
        return bool(presence.running(self._application))

    def places(self) -> tuple[str, ...]:
        """The nodes of the running replicas, as last pushed by Serve's controller."""
        return presence.nodes(self._application)

    async def warm(self, *, look: bool = False) -> AsyncIterator[LoadProgress]:
        """Wake the engine and follow its load; with ``look``, weights that are set aside stay there.

        Raises:
            EngineLeaving, EngineLost: ask again; a successor will answer.
            LoadFailed: Serve cannot start an engine.
        """
        with translated(self._model):
            events = self._warm.remote(look=look)
            fault = functools.partial(startup_fault, self._application, DEPLOYMENT)
            try:
                async for progress in unless_failing(self._model, events, fault):
                    yield progress
            except DeploymentUnavailableError:
                # Serve has given up: who asks first hears why.
                if reason := await fault():
                    raise LoadFailed(self._model, reason) from None
                raise
            finally:
                events.cancel()

    async def generate(self, call: EngineCall) -> EngineResult:
        """Draw.

        Raises:
            EngineError: the engine's own, or EngineBusy, EngineLost.
        """
        with translated(self._model):
            answer = self._generate.remote(timed(call))
            try:
                return cast(EngineResult, await answer)
            except asyncio.CancelledError:
                # Serve does so itself only where the whole request is cancelled.
                answer.cancel()
                raise

    async def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        """Draw, and follow it.

        Raises:
            EngineError: as `generate`.
        """
        with translated(self._model):
            events = self._stream.remote(timed(call))
            try:
                async for event in events:
                    yield event
            finally:
                # Nothing happens to a stream that has ended; one that is left is stopped.
                events.cancel()

    async def release(self, *, only_if_idle: bool) -> bool:
        """Send the engine to sleep once its work has ended; says whether it goes.

        Raises:
            EngineError: it could not be told.
        """
        with translated(self._model):
            return bool(await self._release.remote(only_if_idle=only_if_idle))

    async def park(self) -> bool:
        """Move its weights to the host's memory; says whether it did.

        Raises:
            EngineError: it could not be told.
        """
        with translated(self._model):
            return bool(await self._park.remote())


@contextmanager
def translated(model: str) -> Iterator[None]:
    """Turn Ray's errors into ours, keeping the cause.

    An engine's error arrives as a ``RayTaskError`` whose text is a remote traceback; its cause is
    the error itself. A client never sees the traceback, the log does.
    """
    try:
        yield
    except EngineError as error:
        raise _cause(error) from error
    except BackPressureError as error:
        raise EngineBusy(model, _queued(error), 1.0) from error
    except OutOfMemoryError as error:
        # Of the machine, not of a GPU: Ray has ended the process before the kernel would.
        _logger.warning("the engine of %s was ended: %s", model, error.args)
        raise HostMemoryExhausted(model) from error
    except LOST as error:
        raise EngineLost(model) from error
    except RayTaskError as error:
        _logger.exception("the engine of %s raised what it should not", model)
        raise GenerationFailed(model, f"unexpected {type(error.cause).__name__}") from error
    except (RayError, RayServeException) as error:
        _logger.exception("Ray failed under a call to %s", model)
        raise GenerationFailed(model, f"unexpected {type(error).__name__}") from error


def _cause(error: EngineError) -> EngineError:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, EngineError) else error


def _queued(error: Any) -> int:
    return int(error.args[0]) if error.args else 0
