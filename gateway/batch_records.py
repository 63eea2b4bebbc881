"""What the storage has of a batch: its record, how far it is, who asked it to end, each finished line.

::

    batches/ID.json             as it was submitted, and again as it has ended
    batches/ID/noted.json       between the two, written by the gateway that works on it
    batches/ID/cancelled        when somebody asked it to end (Unix seconds)
    batches/ID/0.json …         what became of each line

No object has two kinds of writers, so none undoes what another has written: a gateway that writes late,
because it was given up meanwhile, changes nothing of a batch that has ended.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Final

from pydantic import ValidationError

from gateway.batch import Batch, Outcome
from gateway.objects import Objects

_logger = logging.getLogger(__name__)

_ID: Final = re.compile(r"batch_[0-9a-f]{24}")
_FOLDER: Final = "batches"


class BatchRecords:
    """The batches of a storage. Every method raises `StorageFailed`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def get(self, batch_id: str) -> Batch | None:
        """A batch as it stands; ``None`` where there is none that can be read."""
        batch = await self._read(_record(batch_id)) if _ID.fullmatch(batch_id) else None
        if batch is None or batch.ended:
            return batch
        asked = await self._asked(batch_id)
        noted = await self._read(_noted(batch_id))
        if noted is None:
            # Nothing yet, or no more: then it has just ended.
            noted = await self._read(_record(batch_id))
        return noted if noted is None or noted.ended else _cancelling(noted, asked)

    async def all(self) -> list[Batch]:
        """All batches, the newest first."""
        names = await self._objects.names(_FOLDER)
        ids = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        found = [batch for batch in [await self.get(each) for each in ids] if batch is not None]
        return sorted(found, key=lambda batch: (batch.created_at, batch.id), reverse=True)

    async def save(self, batch: Batch) -> None:
        """Keep a batch that begins or has ended."""
        await self._write(_record(batch.id), batch)

    async def note(self, batch: Batch) -> None:
        """Keep how far a batch is."""
        await self._write(_noted(batch.id), batch)

    async def cancel(self, batch: Batch) -> Batch:
        """Ask a batch to end; returns it as it is shown from now on."""
        now = str(int(time.time())).encode()
        await self._objects.write(_cancelled(batch.id), now)
        return _cancelling(batch, now)

    async def asked(self, batch: Batch) -> Batch:
        """The batch, which somebody may have asked to end meanwhile."""
        return batch if batch.status == "cancelling" else _cancelling(batch, await self._asked(batch.id))

    async def outcome(self, batch: Batch, number: int) -> Outcome | None:
        """What became of a line, counted from 0; ``None`` where it is not finished."""
        kept = await self._objects.read(_line(batch.id, number))
        return None if kept is None else Outcome.model_validate_json(kept)

    async def keep(self, batch: Batch, number: int, outcome: Outcome) -> None:
        """Keep what became of a line."""
        await self._objects.write(_line(batch.id, number), outcome.model_dump_json().encode())

    async def clear(self, batch_id: str) -> None:
        """Remove all but the record."""
        await self._objects.remove_folder(f"{_FOLDER}/{batch_id}")

    async def remove(self, batch_id: str) -> None:
        """Remove the record of a batch that was not taken on."""
        await self._objects.remove(_record(batch_id))

    async def _asked(self, batch_id: str) -> bytes | None:
        return await self._objects.read(_cancelled(batch_id))

    async def _write(self, place: str, batch: Batch) -> None:
        await self._objects.write(place, batch.model_dump_json().encode())

    async def _read(self, place: str) -> Batch | None:
        data = await self._objects.read(place)
        try:
            return None if data is None else Batch.model_validate_json(data)
        except ValidationError as error:
            _logger.warning("%s cannot be read: %s", place, error)
            return None


def _cancelling(batch: Batch, asked: bytes | None) -> Batch:
    if asked is None:
        return batch
    return batch.model_copy(update={"status": "cancelling", "cancelling_at": int(asked)})


def _record(batch_id: str) -> str:
    return f"{_FOLDER}/{batch_id}.json"


def _noted(batch_id: str) -> str:
    return f"{_FOLDER}/{batch_id}/noted.json"


def _cancelled(batch_id: str) -> str:
    return f"{_FOLDER}/{batch_id}/cancelled"


def _line(batch_id: str, number: int) -> str:
    return f"{_FOLDER}/{batch_id}/{number}.json"
