"""What a gateway keeps beyond its process: published pictures, files and batches in a storage; jobs,
webhooks and answers to repeat in a database, with their bytes in that storage, and who works on what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from engines.errors import StorageFailed
from gateway.batch_claims import BatchClaims
from gateway.batch_records import BatchRecords
from gateway.batches import Batches, Execute
from gateway.database import Database
from gateway.files import Files
from gateway.idempotency import Idempotency
from gateway.jobs.jobs import Jobs
from gateway.jobs.work import Draw
from gateway.kept_answers import KeptAnswers
from gateway.leases import Lease
from gateway.objects import Objects
from gateway.settings import Settings
from gateway.storage import Storage
from gateway.sweeping import Sweeper
from gateway.webhooks import Webhooks

_logger = logging.getLogger(__name__)

_ENDING: Final[set[asyncio.Task[None]]] = set()
"""What is being closed; a task that nobody holds may be collected."""


class Keeping:
    """The storage and the database that settings ask for; `start` needs a running loop.

    ``execute`` makes the call of a batch's line, ``draw`` that of a job with one of ``models``; ``current``
    gives the settings as they are now.
    """

    def __init__(
        self,
        settings: Settings,
        execute: Execute,
        *,
        draw: Draw,
        models: Callable[[], Sequence[str]],
        current: Callable[[], Settings],
    ) -> None:
        self._place = _place(settings)
        objects = Objects(_url(settings), settings.storage_options)
        self.storage = Storage(objects)
        self.files = Files(objects)
        folder = Path(settings.state_folder) if settings.state_folder else None
        self._database = Database(settings.database_url, folder=folder)
        self._lease = Lease(self._database)
        claims = BatchClaims(self._database)
        self.batches = Batches(BatchRecords(objects), claims, self._lease, execute, files=self.files)
        self.webhooks = Webhooks(self._database, current)
        self.jobs = Jobs(
            self._database,
            objects,
            self._lease,
            draw,
            models=models,
            keep_seconds=lambda: current().job_seconds,
            most=lambda: current().max_jobs_per_key,
            # A caller without a key is an address, which changes.
            private=lambda: bool(current().api_keys),
            told=self._told,
        )
        kept = KeptAnswers(self._database, objects, keep_seconds=lambda: current().idempotency_seconds)
        self.idempotency = Idempotency(kept, self._lease)
        self._sweeper: Sweeper | None = None

    def serves(self, settings: Settings) -> bool:
        """Whether these settings ask for this very storage and database."""
        return self._place == _place(settings)

    @property
    def started(self) -> bool:
        """Whether what expires is being removed."""
        return self._sweeper is not None

    def start(self) -> None:
        """Begin to remove what expires, and go on with the batches and the jobs."""
        self._sweeper = Sweeper(self.sweep)
        self.batches.start()
        if self._database.exists:
            self.jobs.start()
            self.webhooks.start()

    def close(self) -> None:
        """Stop; what is kept stays."""
        self.batches.close()
        self.jobs.close()
        self.webhooks.close()
        self.idempotency.close()
        self._lease.close()
        if self._sweeper is not None:
            self._sweeper.close()
        # Nobody waits for it: it ends by itself, and a gateway that is killed meanwhile is found dead.
        task = asyncio.get_running_loop().create_task(self.settled())
        _ENDING.add(task)
        task.add_done_callback(_ENDING.discard)

    async def settled(self) -> None:
        """Let go of the database, once what is under way in it has ended; other gateways take over then."""
        if not self._database.used:
            return
        with contextlib.suppress(StorageFailed):
            await self._lease.release()
        await self._database.close()

    async def sweep(self) -> None:
        """Remove what has expired.

        Raises:
            StorageFailed
        """
        await self.storage.sweep()
        await self.files.sweep()
        if self._database.used:
            await self.jobs.sweep()
            await self.idempotency.sweep()

    def _told(self) -> None:
        self.webhooks.start()
        self.webhooks.look()


def _url(settings: Settings) -> str:
    if settings.storage_url is not None:
        return settings.storage_url
    if settings.state_folder is not None:
        return f"{settings.state_folder}/storage"
    return f"memory://kandinsky-{secrets.token_hex(4)}"  # memory is the whole process's


def _place(settings: Settings) -> tuple[object, ...]:
    return settings.storage_url, settings.storage_options, settings.state_folder, settings.database_url
