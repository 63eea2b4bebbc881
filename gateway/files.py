"""OpenAI's files: what clients store to edit from, and what batches read and write.

A file is two objects of the storage: its bytes, and a record beside them that is written last. A
record that is there is therefore a whole file, after whatever kind of stop.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import Final, Literal

from pydantic import ValidationError

from compat.errors import FileNotStored
from compat.stored_fields import UploadPurpose
from engines.schema import Frozen
from gateway.objects import Objects

Purpose = UploadPurpose | Literal["batch_output"]

_ID: Final = re.compile(r"file-[0-9a-f]{24}")
_FOLDER: Final = "files"


class StoredFile(Frozen):
    """A file's record, as OpenAI's ``FileObject`` shows it; times in Unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"
    expires_at: int | None = None


class Files:
    """The files kept in a storage."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def create(
        self, data: bytes, *, filename: str, purpose: Purpose, seconds: float | None = None
    ) -> StoredFile:
        """Keep a file, for ``seconds`` or until it is deleted.

        Raises:
            StorageFailed
        """
        now = int(time.time())
        record = StoredFile(
            id=f"file-{secrets.token_hex(12)}",
            bytes=len(data),
            created_at=now,
            filename=filename,
            purpose=purpose,
            expires_at=None if seconds is None else now + int(seconds),
        )
        await self._objects.write(_content(record.id), data)
        await self._objects.write(_record(record.id), record.model_dump_json().encode())
        return record

    async def get(self, file_id: str) -> StoredFile:
        """A file's record.

        Raises:
            FileNotStored: there is none of this id, or it has expired.
        """
        record = await self._read(file_id) if _ID.fullmatch(file_id) else None
        if record is None or _expired(record):
            raise FileNotStored(file_id)
        return record

    async def read(self, file_id: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotStored
        """
        record = await self.get(file_id)
        data = await self._objects.read(_content(record.id))
        if data is None:
            raise FileNotStored(file_id)
        return data

    async def delete(self, file_id: str) -> None:
        """Forget a file.

        Raises:
            FileNotStored
        """
        record = await self.get(file_id)
        await self._forget(record.id)

    async def all(self, *, purpose: str | None = None) -> list[StoredFile]:
        """All files, the newest first."""
        names = await self._objects.names(_FOLDER)
        ids = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        found = await asyncio.gather(*(self._read(each) for each in ids))
        kept = [record for record in found if record is not None and not _expired(record)]
        wanted = (record for record in kept if purpose in (None, record.purpose))
        return sorted(wanted, key=lambda record: (record.created_at, record.id), reverse=True)

    async def sweep(self) -> None:
        """Forget the files that have expired."""
        for name in await self._objects.names(_FOLDER):
            record = await self._read(name.removesuffix(".json")) if name.endswith(".json") else None
            if record is not None and _expired(record):
                await self._forget(record.id)

    async def _forget(self, file_id: str) -> None:
        await self._objects.remove(_record(file_id))
        await self._objects.remove(_content(file_id))

    async def _read(self, file_id: str) -> StoredFile | None:
        data = await self._objects.read(_record(file_id))
        try:
            return None if data is None else StoredFile.model_validate_json(data)
        except ValidationError:
            return None


def _expired(record: StoredFile) -> bool:
    return record.expires_at is not None and record.expires_at < time.time()


def _record(file_id: str) -> str:
    return f"{_FOLDER}/{file_id}.json"


def _content(file_id: str) -> str:
    return f"{_FOLDER}/{file_id}.bin"
