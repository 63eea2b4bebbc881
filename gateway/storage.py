"""Pictures behind addresses that nobody can guess and that expire, on any storage fsspec knows.

A name is its expiry and 128 random bits; nothing else is kept about a picture, so a restart forgets
none. An expired name is refused unread, and `Storage.sweep` removes what has expired.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import fsspec

from engines.calls import EncodedImage, ImageFormat
from engines.errors import StorageFailed

_logger = logging.getLogger(__name__)

_NAME: Final = re.compile(r"(\d{10})-([0-9a-f]{32})\.(png|jpeg|webp|gif)")


class Storage:
    """A folder on a file system of fsspec's: ``/path``, ``s3://bucket/prefix``, ``memory://name`` …

    ``options`` are the file system's own (endpoint, keys). Nothing is connected before the first use.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._url = url
        self._options = dict(options or {})
        self._place: tuple[Any, str] | None = None

    async def publish(self, image: EncodedImage, *, seconds: float) -> str:
        """Keep a picture for ``seconds``; returns its name, which ends in the format's extension.

        Raises:
            StorageFailed: the disk is full, the bucket cannot be reached …
        """
        name = f"{int(time.time() + seconds)}-{secrets.token_hex(16)}.{image.format.value}"
        await self.write(f"images/{name}", image.data)
        return name

    async def picture(self, name: str) -> tuple[bytes, str] | None:
        """The bytes and media type of a picture; ``None`` where it never was, or has expired."""
        found = _NAME.fullmatch(name)
        if found is None or int(found[1]) < time.time():
            return None
        data = await self.read(f"images/{name}")
        return None if data is None else (data, ImageFormat(found[3]).media_type)

    async def sweep(self) -> int:
        """Remove the expired pictures; returns how many there were."""
        removed = 0
        for name in await self.names("images"):
            found = _NAME.fullmatch(name)
            if found is not None and int(found[1]) < time.time():
                await self.remove(f"images/{name}")
                removed += 1
        return removed

    async def write(self, path: str, data: bytes) -> None:
        """Keep ``data`` under a relative path; a reader sees all of it or nothing.

        Raises:
            StorageFailed
        """
        await asyncio.to_thread(self._write, path, data)

    async def read(self, path: str) -> bytes | None:
        """What is kept under a path, ``None`` where nothing is.

        Raises:
            StorageFailed
        """
        return await asyncio.to_thread(self._read, path)

    async def remove(self, path: str) -> None:
        """Forget what is kept under a path; nothing there is no fault."""
        await asyncio.to_thread(self._remove, path)

    async def names(self, folder: str) -> list[str]:
        """The names of the files in a folder; none where it does not exist."""
        return await asyncio.to_thread(self._names, folder)

    def _write(self, path: str, data: bytes) -> None:
        system, root = self._opened()
        place, part = f"{root}/{path}", f"{root}/{path}.part-{secrets.token_hex(4)}"
        try:
            system.makedirs(place.rpartition("/")[0], exist_ok=True)
            system.pipe_file(part, data)
            system.mv(part, place)
        except Exception as error:  # every file system raises its own kinds
            with contextlib.suppress(Exception):  # it may not be there, and the first failure is the one told
                system.rm_file(part)
            raise self._failure("written", error) from error

    def _read(self, path: str) -> bytes | None:
        system, root = self._opened()
        try:
            data: bytes = system.cat_file(f"{root}/{path}")
        except FileNotFoundError:
            return None
        except Exception as error:  # every file system raises its own kinds
            raise self._failure("read", error) from error
        return data

    def _remove(self, path: str) -> None:
        system, root = self._opened()
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{root}/{path}")

    def _names(self, folder: str) -> list[str]:
        system, root = self._opened()
        try:
            found: list[str] = system.ls(f"{root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return [each.rpartition("/")[2] for each in found]

    def _opened(self) -> tuple[Any, str]:
        if self._place is None:
            system, root = fsspec.url_to_fs(self._url, **self._options)
            self._place = system, root.rstrip("/")
        return self._place

    def _failure(self, doing: str, error: Exception) -> StorageFailed:
        _logger.error("the storage cannot be %s: %s: %s", doing, type(error).__name__, error)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return StorageFailed(doing, reason)
