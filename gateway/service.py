"""The models this gateway serves, and one way in for every route."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from engines import presence
from engines.calls import EngineCall, EngineEvent, EngineResult
from engines.errors import (
    EngineBusy,
    EngineLeaving,
    EngineLost,
    LoadFailed,
    ModelLoading,
    UnknownModel,
)
from engines.schema import Frozen
from gateway.batch import Batch, Line, Outcome
from gateway.batches import Batches
from gateway.conductor import Conductor
from gateway.coordination import Coordination, Exchange
from gateway.deployments import application_name
from gateway.engine import Engine
from gateway.fetching import Fetcher
from gateway.files import Files
from gateway.idempotency import Idempotency
from gateway.image_sources import ImageSources
from gateway.jobs import Jobs
from gateway.jobs.calls import JobCall
from gateway.jobs.job import Answer
from gateway.jobs.work import Told
from gateway.keeping import Keeping
from gateway.lifecycle import Awake
from gateway.memory import Learned, ModelMemory
from gateway.registry import Entry, ModelEntry, Registry
from gateway.remotes import RemoteEntry
from gateway.served import ServedModel
from gateway.settings import Settings
from gateway.status import State, Status
from gateway.storage import Storage
from gateway.trials import MOST_LOSSES, seeded
from gateway.webhooks import Webhooks

if TYPE_CHECKING:
    from gateway.remote_server import RemoteServer


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

    ``connect`` makes the engine client of a model, ``reach`` the client of a model of another server,
    ``exchange`` the way to the conductor, for settings that may have changed.
    """

    def __init__(
        self,
        connect: Callable[[str], Engine],
        reach: Callable[[RemoteEntry], RemoteServer] = reach,
        *,
        exchange: Callable[[Settings], Exchange] | None = None,
    ) -> None:
        self._connect = connect
        # Without any other, a conductor that knows of no rooms: everybody may wake.
        alone = Conductor(lambda model: self._served[model].engine)
        self._exchange = exchange or (lambda _: alone.exchange)
        self._reach = reach
        self._remotes: dict[str, RemoteServer] = {}
        self._served: dict[str, ServedModel] = {}
        self._memory = ModelMemory(None)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_listening: Callable[[], None] | None = None
        self._coordination: Coordination | None = None
        self._identity = secrets.token_hex(8)
        self.models = Registry()
        self.settings = Settings()
        self._keeping = self._new_keeping()

    def configure(self, config: GatewayConfig) -> None:
        """Take over a new set of models; those that stay keep their state. Needs a running loop."""
        self._loop = asyncio.get_running_loop()
        if self._stop_listening is None:
            self._stop_listening = presence.listen(self._presence_changed)
        folder = config.settings.state_folder
        self.settings = config.settings
        self._configure_keeping()
        self._configure_coordination()
        self._memory = ModelMemory(Path(folder) / "models" if folder else None)
        self.models = Registry(self._with_memory(config.models), config.remotes)
        self._configure_remotes()
        entries = {entry.name: entry for entry in self.models}
        for name, model in list(self._served.items()):
            if name not in entries or not _same_engine(model.entry, entries[name]):
                self._served.pop(name).close()
        for name, entry in entries.items():
            if name in self._served:
                self._served[name].entry = entry
            else:
                self._served[name] = self._new_model(entry)
        self._changed()

    def close(self) -> None:
        """Stop following the engines."""
        if self._stop_listening is not None:
            self._stop_listening()
        if self._coordination is not None:
            self._coordination.close()
        for model in self._served.values():
            model.close()
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

    @property
    def jobs(self) -> Jobs:
        """The calls that are answered later."""
        return self._keeping.jobs

    @property
    def webhooks(self) -> Webhooks:
        """What tells others of ended jobs."""
        return self._keeping.webhooks

    @property
    def idempotency(self) -> Idempotency:
        """The answers to requests with a key."""
        return self._keeping.idempotency

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

    def served(self, model: str) -> ServedModel:
        """A model that has engines here, by its name.

        Raises:
            UnknownModel: it is not served any more.
        """
        if model not in self._served:
            raise UnknownModel(model, self.models.names)
        return self._served[model]

    def status(self, model: str) -> Status:
        """Where a model stands."""
        if model in self._remotes:
            return Status(state=State.REMOTE)
        return self.served(model).status

    def admit(self, model: str) -> None:
        """Raise where a request for the model that came now would be refused.

        Raises:
            EngineBusy: too many wait already.
        """
        if model in self._served:
            self._served[model].line.require_room()

    def remote(self, model: str) -> RemoteServer:
        """The client of a model of another server."""
        return self._remotes[model]

    def fallback(self, entry: ModelEntry) -> Entry | None:
        """The model that can answer at once in the place of one that cannot; ``None`` if that one can."""
        if entry.fallback is None or self._served[entry.name].life.ready:
            return None
        try:
            found = self.models.listed(entry.fallback)
        except UnknownModel:
            return None
        awake = isinstance(found, RemoteEntry) or self._served[found.name].life.ready
        return found if awake and found.name != entry.name else None

    async def wake_unless_ready(self, model: str) -> Status | None:
        """Return ``None`` when the model is ready; else start waking it and tell where it stands.

        Raises:
            LoadFailed: the last load failed and its back-off still lasts.
        """
        return await self.served(model).wake_unless_ready()

    async def generate(self, model: str, call: EngineCall, *, hold_seconds: float) -> EngineResult:
        """Draw with a model, as `ServedModel.generate`; also when it is deployed anew meanwhile.

        Raises:
            UnknownModel: it is not served any more.
            EngineBusy, ModelLoading, EngineError
        """
        call = seeded(call)
        while True:
            served = self.served(model)
            try:
                return await served.generate(call, hold_seconds=hold_seconds)
            except (EngineLeaving, EngineLost):
                if self._served.get(model) is served:
                    raise

    async def generate_behind(self, model: str, call: EngineCall, *, until: float) -> EngineResult:
        """Draw when no live request is under way; try again until the time ``until`` (Unix seconds).

        Raises:
            EngineError: what trying again does not cure, or ``until`` has come.
        """
        losses = 0
        while True:
            await self.served(model).line.empty()
            try:
                return await self.generate(model, call, hold_seconds=self.settings.hold_seconds)
            except (LoadFailed, ModelLoading, EngineBusy, EngineLost, EngineLeaving) as error:
                losses += isinstance(error, EngineLost)
                wait = error.retry_after_seconds or 1.0
                if losses == MOST_LOSSES or time.time() + wait > until:
                    raise
                await asyncio.sleep(wait)

    async def stream(
        self, model: str, call: EngineCall, *, hold_seconds: float
    ) -> AsyncGenerator[EngineEvent | Status]:
        """Draw and tell of the way, as `ServedModel.stream`; also when it is deployed anew before it draws.

        Raises:
            UnknownModel: it is not served any more.
            EngineBusy, ModelLoading, EngineError
        """
        call = seeded(call)
        begun = False
        while True:
            served = self.served(model)
            try:
                async with aclosing(served.stream(call, hold_seconds=hold_seconds)) as events:
                    async for event in events:
                        begun = begun or not isinstance(event, Status)
                        yield event
                return
            except (EngineLeaving, EngineLost):
                if begun or self._served.get(model) is served:
                    raise

    def _configure_keeping(self) -> None:
        if self._keeping.started and self._keeping.serves(self.settings):
            return
        self._keeping.close()
        self._keeping = self._new_keeping()
        self._keeping.start()

    def _new_keeping(self) -> Keeping:
        return Keeping(
            self.settings,
            self._execute_line,
            draw=self._draw_job,
            models=lambda: self.models.names,
            current=lambda: self.settings,
        )

    async def _draw_job(self, call: JobCall, told: Told) -> Answer:
        from gateway.jobs.drawing import draw  # which is built on this module

        return await draw(self, call, told)

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

    def _configure_coordination(self) -> None:
        """Speak with the conductor that these settings ask for."""
        if self._coordination is not None:
            self._coordination.close()
        self._coordination = Coordination(
            lambda: self._served, self._exchange(self.settings), identity=self._identity
        )
        self._coordination.start()

    def _changed(self) -> None:
        if self._coordination is not None:
            self._coordination.changed()

    def _new_model(self, entry: ModelEntry) -> ServedModel:
        model = ServedModel(
            entry,
            self._connect(entry.name),
            learned=self._memory.recall(entry.card),
            backoff_seconds=self.settings.failure_backoff_seconds,
            on_change=self._changed,
            on_learned=self._learn,
            neighbours=self._has_neighbours,
        )
        if model.engine.running():
            model.presence_changed(True)
        return model

    def _has_neighbours(self, model: ServedModel) -> bool:
        here = set(model.engine.places())
        others = (other for other in self._served.values() if other is not model and other.idle)
        return any(here & set(other.engine.places()) for other in others)

    def _learn(self, model: ServedModel, awake: Awake | None) -> None:
        if self._served.get(model.name) is not model:
            return
        entry = self.models.get(model.name)
        if awake is not None and awake.schema is not None:
            entry = entry.model_copy(update={"schema_": awake.schema})
            self.models = self.models.replaced(entry)
            model.entry = entry
        if awake is None or awake.seconds is not None:
            learned = Learned(
                schema_=entry.schema_, load_seconds=model.life.load_seconds, memory_bytes=model.measured_bytes
            )
            asyncio.get_running_loop().run_in_executor(None, self._memory.remember, entry.card, learned)

    def _presence_changed(self, application: str, replicas: frozenset[str]) -> None:
        """Called by the router, from whatever thread it runs in."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell_model, application, bool(replicas))

    def _tell_model(self, application: str, running: bool) -> None:
        for name, model in self._served.items():
            if application_name(name) == application:
                model.presence_changed(running)


def _same_engine(one: ModelEntry, other: ModelEntry) -> bool:
    """Whether two entries are served by the same application, which a change of either would replace."""
    return one.card == other.card and one.options == other.options
