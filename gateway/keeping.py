"""What a gateway keeps beyond its process, all in one storage: published pictures, files and batches."""

from __future__ import annotations

import secrets

from gateway.batches import Batches, Execute
from gateway.files import Files
from gateway.objects import Objects
from gateway.settings import Settings
from gateway.storage import Storage
from gateway.sweeping import Sweeper


class Keeping:
    """The storage that settings ask for; `start` needs a running loop."""

    def __init__(self, settings: Settings, execute: Execute) -> None:
        self._place = _place(settings)
        objects = Objects(_url(settings), settings.storage_options)
        self.storage = Storage(objects)
        self.files = Files(objects)
        self.batches = Batches(objects, self.files, execute)
        self._sweeper: Sweeper | None = None

    def serves(self, settings: Settings) -> bool:
        """Whether these settings ask for this very storage."""
        return self._place == _place(settings)

    @property
    def started(self) -> bool:
        """Whether what expires is being removed."""
        return self._sweeper is not None

    def start(self) -> None:
        """Begin to remove what expires, and go on with the batches."""
        self._sweeper = Sweeper(self.sweep)
        self.batches.start()

    def close(self) -> None:
        """Stop; what is kept stays."""
        self.batches.close()
        if self._sweeper is not None:
            self._sweeper.close()

    async def sweep(self) -> None:
        """Remove what has expired.

        Raises:
            StorageFailed
        """
        await self.storage.sweep()
        await self.files.sweep()


def _url(settings: Settings) -> str:
    if settings.storage_url is not None:
        return settings.storage_url
    if settings.state_folder is not None:
        return f"{settings.state_folder}/storage"
    return f"memory://kandinsky-{secrets.token_hex(4)}"  # memory is the whole process's


def _place(settings: Settings) -> tuple[object, ...]:
    return settings.storage_url, settings.storage_options, settings.state_folder
