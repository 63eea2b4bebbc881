"""Calls to engines over Ray Serve handles, with the errors of the way translated."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from engines import presence
from engines.calls import EngineCall, EngineEvent, EngineResult, LoadProgress
from engines.errors import EngineBusy, EngineError, EngineLost, GenerationFailed
from engines.replica import DEPLOYMENT
from gateway.deployments import application_name

_logger = logging.getLogger(__name__)


class ServeEngine:
    """A model's engine on Ray Serve, through one cached handle."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._application = application_name(model)
        # Made directly: `serve.get_deployment_handle` refuses a deployment that is still being built,
        # which a model's is when the gateway first hears of it.
        handle: DeploymentHandle[Any] = DeploymentHandle(DEPLOYMENT, self._application)
        # Asking for options starts the handle's router, which tells `presence` within milliseconds.
        self._generate = handle.options(method_name="generate")
        # Any: Ray types the answer of a streaming handle as either kind of response.
        self._warm: Any = handle.options(method_name="warm", stream=True)
        self._stream: Any = handle.options(method_name="stream", stream=True)

    def running(self) -> bool:
        """Whether a replica runs, as last pushed by Serve's controller (no call is made)."""
        return bool(presence.running(self._application))

    async def warm(self) -> AsyncIterator[LoadProgress]:
        """Wake the engine and follow its load.

        Raises:
            EngineLeaving, EngineLost: ask again; a successor will answer.
        """
        with _translated(self._model):
            async for progress in self._warm.remote():
                yield progress

    async def generate(self, call: EngineCall) -> EngineResult:
        """Draw.

        Raises:
            EngineError: the engine's own, or EngineBusy, EngineLost.
        """
        with _translated(self._model):
            return cast(EngineResult, await self._generate.remote(call))

    async def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        """Draw, and follow it.

        Raises:
            EngineError: as `generate`.
        """
        with _translated(self._model):
            events = self._stream.remote(call)
            try:
                async for event in events:
                    yield event
            finally:
                # Nothing happens to a stream that has ended; one that is left is stopped.
                events.cancel()


@contextmanager
def _translated(model: str) -> Iterator[None]:
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
    except (RayActorError, DeploymentUnavailableError) as error:
        raise EngineLost(model) from error
    except RayTaskError as error:
        _logger.exception("the engine of %s raised what it should not", model)
        raise GenerationFailed(model, f"unexpected {type(error.cause).__name__}") from error


def _cause(error: EngineError) -> EngineError:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, EngineError) else error


def _queued(error: Any) -> int:
    return int(error.args[0]) if error.args else 0
