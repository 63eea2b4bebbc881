"""The models this gateway serves, and one way in for every route: wake, call, retry."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engines import presence
from engines.calls import LARGEST_SEED, EngineCall, EngineEvent, EngineResult, Preview
from engines.errors import (
    EngineBusy,
    EngineLeaving,
    EngineLost,
    LoadFailed,
    ModelLoading,
    UnknownModel,
)
from engines.schema import Frozen, PipelineSchema
from gateway.batch import Batch, Line, Outcome
from gateway.batches import Batches
from gateway.deployments import application_name
from gateway.fetching import Fetcher
from gateway.files import Files
from gateway.image_sources import ImageSources
from gateway.keeping import Keeping
from gateway.lifecycle import Engine, Lifecycle, State, Status
from gateway.memory import Learned, ModelMemory
from gateway.registry import Entry, ModelEntry, Registry
from gateway.remotes import RemoteEntry
from gateway.settings import Settings
from gateway.storage import Storage

if TYPE_CHECKING:
    from gateway.remote_server import RemoteServer

_logger = logging.getLogger(__name__)

TRIES: Final = 3
"""How often a call is sent to an engine that dies, or leaves, under it."""
ATTACH_SECONDS: Final = 0.5
"""How long a call waits to learn that a running engine, found after a restart, is loaded."""


def reach(entry: RemoteEntry) -> RemoteServer:
    """The client of a model of another server."""
    # openai takes half a second to import, and most gateways have no such model.
    from gateway.remote_server import RemoteServer

    return RemoteServer(entry)


class GatewayConfig(Frozen):
    """The gateway's ``user_config`` in Serve: the registry and the settings."""

    models: tuple[ModelEntry, ...] = ()
    remotes: tuple[RemoteEntry, ...] = ()
    settings: Settings = Settings()


class Service:
    """Everything the routes need.

    ``connect`` makes the engine client of a model, ``reach`` the client of a model of another server.
    """

    def __init__(
        self, connect: Callable[[str], Engine], reach: Callable[[RemoteEntry], RemoteServer] = reach
    ) -> None:
        self._connect = connect
        self._reach = reach
        self._remotes: dict[str, RemoteServer] = {}
        self._lifecycles: dict[str, Lifecycle] = {}
        self._memory = ModelMemory(None)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_listening: Callable[[], None] | None = None
        self.models = Registry()
        self.settings = Settings()
        self._keeping = Keeping(self.settings, self._execute_line)

    def configure(self, config: GatewayConfig) -> None:
        """Take over a new set of models; those that stay keep their state. Needs a running loop."""
        self._loop = asyncio.get_running_loop()
        if self._stop_listening is None:
            self._stop_listening = presence.listen(self._presence_changed)
        folder = config.settings.state_folder
        self.settings = config.settings
        self._configure_keeping()
        self._memory = ModelMemory(Path(folder) / "models" if folder else None)
        before = {entry.name: entry for entry in self.models}
        self.models = Registry(self._with_memory(config.models), config.remotes)
        self._configure_remotes()
        cards = {entry.name: entry.card for entry in self.models}
        for entry in before.values():
            if cards.get(entry.name) != entry.card:
                self._lifecycles.pop(entry.name).close()
        for entry in self.models:
            if entry.name not in self._lifecycles:
                self._lifecycles[entry.name] = self._new_lifecycle(entry)

    def close(self) -> None:
        """Stop following the engines."""
        if self._stop_listening is not None:
            self._stop_listening()
        for lifecycle in self._lifecycles.values():
            lifecycle.close()
        self._keeping.close()

    @property
    def storage(self) -> Storage:
        """The pictures behind URLs."""
        return self._keeping.storage

    @property
    def files(self) -> Files:
        """The files that clients have stored."""
        return self._keeping.files

    @property
    def batches(self) -> Batches:
        """The batches and what works on them."""
        return self._keeping.batches

    def image_sources(self) -> ImageSources:
        """Where the input pictures of a request are got from."""
        settings = self.settings
        fetcher = (
            Fetcher(limit=settings.max_file_mb << 20, networks=settings.fetch_networks)
            if settings.fetch_image_urls
            else None
        )
        return ImageSources(max_pixels=settings.max_image_pixels, read_file=self.files.read, fetcher=fetcher)

    async def close_remotes(self) -> None:
        """Close the connections to other servers."""
        for remote in self._remotes.values():
            await remote.close()

    def status(self, model: str) -> Status:
        """Where a model stands."""
        if model in self._remotes:
            return Status(state=State.REMOTE)
        return self._lifecycles[model].status

    def remote(self, model: str) -> RemoteServer:
        """The client of a model of another server."""
        return self._remotes[model]

    def fallback(self, entry: ModelEntry) -> Entry | None:
        """The model that can answer at once in the place of one that cannot; ``None`` if that one can."""
        if entry.fallback is None or self._lifecycles[entry.name].ready:
            return None
        try:
            found = self.models.listed(entry.fallback)
        except UnknownModel:
            return None
        awake = isinstance(found, RemoteEntry) or self._lifecycles[found.name].ready
        return found if awake and found.name != entry.name else None

    async def wake_unless_ready(self, model: str) -> Status | None:
        """Return ``None`` when the model is ready; else start waking it and tell where it stands.

        Raises:
            LoadFailed: the last load failed and its back-off still lasts.
        """
        lifecycle = self._lifecycles[model]
        if lifecycle.ready:
            return None
        waking = lifecycle.wake()
        if lifecycle.engine_running:
            await asyncio.wait([waking], timeout=ATTACH_SECONDS)
        return None if lifecycle.ready else lifecycle.status

    async def generate(self, model: str, call: EngineCall, *, hold_seconds: float) -> EngineResult:
        """Wake the model if need be and draw; the call outlives the death of an engine.

        The seed is fixed before the first try, so that a second one draws the same picture.

        Raises:
            ModelLoading: not ready within ``hold_seconds``.
            EngineError: what the engine raised.
        """
        lifecycle = self._lifecycles[model]
        if call.seed is None:
            call = replace(call, seed=secrets.randbelow(LARGEST_SEED - call.count))
        with lifecycle.working():
            for attempt in range(1, TRIES + 1):
                await lifecycle.ensure_ready(hold_seconds)
                try:
                    return await lifecycle.engine.generate(call)
                except (EngineLost, EngineLeaving) as error:
                    _logger.warning("%s (try %d of %d)", error, attempt, TRIES)
                    lifecycle.presence_changed(False)
                    if attempt == TRIES:
                        raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def generate_behind(self, model: str, call: EngineCall, *, until: float) -> EngineResult:
        """Draw when no live request of the model is under way; try again until the time ``until``.

        Raises:
            EngineError: what trying again does not cure, or ``until`` (Unix seconds) has come.
        """
        lifecycle = self._lifecycles[model]
        while True:
            await lifecycle.idle()
            try:
                return await self.generate(model, call, hold_seconds=self.settings.hold_seconds)
            except (LoadFailed, ModelLoading, EngineBusy, EngineLost, EngineLeaving) as error:
                wait = error.retry_after_seconds or 1.0
                if time.time() + wait > until:
                    raise
                await asyncio.sleep(wait)

    async def stream(
        self, model: str, call: EngineCall, *, hold_seconds: float
    ) -> AsyncGenerator[EngineEvent | Status]:
        """As `generate`, telling of the way; while the model wakes, where it stands from time to time.

        An engine that dies is replaced as long as no picture of the way was sent.

        Raises:
            ModelLoading, EngineError: as `generate`.
        """
        lifecycle = self._lifecycles[model]
        if call.seed is None:
            call = replace(call, seed=secrets.randbelow(LARGEST_SEED - call.count))
        shown = False
        with lifecycle.working():
            for attempt in range(1, TRIES + 1):
                async for status in lifecycle.becoming_ready(hold_seconds):
                    yield status
                try:
                    # Closed at once when the reader leaves: that is what stops the drawing.
                    async with aclosing(lifecycle.engine.stream(call)) as events:
                        async for event in events:
                            shown = shown or isinstance(event, Preview)
                            yield event
                    return
                except (EngineLost, EngineLeaving) as error:
                    _logger.warning("%s (try %d of %d)", error, attempt, TRIES)
                    lifecycle.presence_changed(False)
                    if attempt == TRIES or shown:
                        raise

    def _configure_keeping(self) -> None:
        if self._keeping.started and self._keeping.serves(self.settings):
            return
        self._keeping.close()
        self._keeping = Keeping(self.settings, self._execute_line)
        self._keeping.start()

    async def _execute_line(self, batch: Batch, line: Line) -> Outcome:
        from gateway.images import execute_line  # which is built on this module

        return await execute_line(self, batch, line)

    def _configure_remotes(self) -> None:
        """Keep the clients of entries that did not change; the others live as long as calls use them."""
        before = self._remotes
        self._remotes = {
            entry.name: known
            if (known := before.get(entry.name)) is not None and known.entry == entry
            else self._reach(entry)
            for entry in self.models.remotes
        }

    def _with_memory(self, entries: Iterable[ModelEntry]) -> Iterable[ModelEntry]:
        for entry in entries:
            learned = self._memory.recall(entry.card)
            yield entry if learned is None else entry.model_copy(update={"schema_": learned.schema_})

    def _new_lifecycle(self, entry: ModelEntry) -> Lifecycle:
        learned = self._memory.recall(entry.card)

        def on_ready(schema: PipelineSchema | None, seconds: float | None) -> None:
            self._learn(entry.name, schema, seconds)

        lifecycle = Lifecycle(
            entry.name,
            self._connect(entry.name),
            backoff_seconds=self.settings.failure_backoff_seconds,
            estimate=learned.load_seconds if learned else None,
            on_ready=on_ready,
        )
        if lifecycle.engine_running:
            lifecycle.presence_changed(True)
        return lifecycle

    def _learn(self, model: str, schema: PipelineSchema | None, seconds: float | None) -> None:
        if schema is None or model not in self._lifecycles:
            return
        entry = self.models.get(model).model_copy(update={"schema_": schema})
        self.models = self.models.replaced(entry)
        if seconds is not None:
            learned = Learned(schema_=schema, load_seconds=seconds)
            asyncio.get_running_loop().run_in_executor(None, self._memory.remember, entry.card, learned)

    def _presence_changed(self, application: str, replicas: frozenset[str]) -> None:
        """Called by the router, from whatever thread it runs in."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell_lifecycle, application, bool(replicas))

    def _tell_lifecycle(self, application: str, running: bool) -> None:
        for model, lifecycle in self._lifecycles.items():
            if application_name(model) == application:
                lifecycle.presence_changed(running)
