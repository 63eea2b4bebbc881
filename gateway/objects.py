"""Named bytes in a folder, on any storage that fsspec knows; off the event loop, whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, BinaryIO, Final, TypeVar

import fsspec
from fsspec.spec import AbstractBufferedFile

from engines.errors import StorageFailed

_logger = logging.getLogger(__name__)

CHUNK: Final = 4 << 20
"""Bytes moved at once."""
STALE_SECONDS: Final = 3600.0
"""A file that is still half written after so long has no writer any more."""

_PART: Final = ".part-"
_WHOLE_AT_ONCE: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss"})
"""Stores whose objects appear when their last byte is there; elsewhere files are renamed into place."""

T = TypeVar("T")


class Objects:
    """A folder on a file system of fsspec's: ``/path``, ``s3://bucket/prefix``, ``memory://name`` …

    ``options`` are the file system's own (endpoint, keys). Nothing is connected before the first use.
    Every method raises `StorageFailed` where the storage does not do what is asked.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._url = url
        # Others write there too: a remembered listing would be an old one.
        self._options = {"use_listings_cache": False, **(options or {})}
        self._place: tuple[Any, str] | None = None

    async def write(self, path: str, content: bytes | BinaryIO) -> None:
        """Keep bytes, or what a file holds from its position on; a reader sees all of it or nothing."""
        await self._run("written", self._write, path, content)

    async def size(self, path: str) -> int | None:
        """How many bytes are kept under a path, ``None`` where nothing is."""

        def look(system: Any, place: str) -> int:
            return int(system.info(place)["size"])

        return await self._found("read", look, path)

    async def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """What is kept under a path, or the bytes of it from ``start`` up to ``end``."""

        def look(system: Any, place: str) -> bytes:
            return bytes(system.cat_file(place, start=start, end=end))

        return await self._found("read", look, path)

    async def chunks(self, path: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to ``end``, piece by piece; fewer where they have been removed."""
        while start < end:
            chunk = await self.read(path, start, min(start + CHUNK, end))
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    async def remove(self, path: str) -> None:
        """Forget what is kept under a path; nothing there is no fault."""
        await self._found("written", lambda system, place: system.rm_file(place), path)

    async def remove_folder(self, path: str) -> None:
        """Forget all that is kept in a folder."""
        await self._found("written", lambda system, place: system.rm(place, recursive=True), path)

    async def names(self, folder: str) -> list[str]:
        """The names of what lies in a folder, files and folders; none where it does not exist."""

        def look(system: Any, place: str) -> list[str]:
            found: list[str] = system.ls(place, detail=False)
            return [name for each in found if _PART not in (name := each.rstrip("/").rpartition("/")[2])]

        return await self._found("read", look, folder) or []

    async def sweep(self, folder: str) -> None:
        """Remove what a writer that died has left half written in a folder."""

        def look(system: Any, place: str) -> None:
            for entry in system.ls(place, detail=True):
                written = entry.get("mtime")
                stale = isinstance(written, float) and written < time.time() - STALE_SECONDS
                if stale and _PART in entry["name"]:
                    system.rm_file(entry["name"])

        await self._found("written", look, folder)

    async def _found(self, doing: str, look: Callable[[Any, str], T], path: str) -> T | None:
        def run() -> T | None:
            system, root = self._opened()
            try:
                return look(system, f"{root}/{path}")
            except FileNotFoundError:
                return None

        return await self._run(doing, run)

    async def _run(self, doing: str, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.to_thread(work, *arguments)
        except Exception as error:  # every file system raises its own library's kinds
            _logger.error("the storage cannot be %s: %s: %s", doing, type(error).__name__, error)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise StorageFailed(doing, reason) from error

    def _write(self, path: str, content: bytes | BinaryIO) -> None:
        system, root = self._opened()
        place = f"{root}/{path}"
        if _WHOLE_AT_ONCE & _protocols(system):
            _pour(system, place, content)
            return
        part = f"{place}{_PART}{secrets.token_hex(4)}"
        try:
            system.makedirs(place.rpartition("/")[0], exist_ok=True)
            _pour(system, part, content)
            system.mv(part, place)
        except Exception:  # whatever it was: nothing half written stays
            with contextlib.suppress(Exception):  # it may not be there, and the first failure is the one told
                system.rm_file(part)
            raise

    def _opened(self) -> tuple[Any, str]:
        if self._place is None:
            system, root = fsspec.url_to_fs(self._url, **self._options)
            self._place = system, root.rstrip("/")
        return self._place


def _protocols(system: Any) -> frozenset[str]:
    protocol = system.protocol
    return frozenset((protocol,) if isinstance(protocol, str) else protocol)


def _pour(system: Any, place: str, content: bytes | BinaryIO) -> None:
    if isinstance(content, bytes):
        system.pipe_file(place, content)
        return
    file = system.open(place, "wb")
    try:
        while chunk := content.read(CHUNK):
            file.write(chunk)
    except Exception:
        _give_up(file)
        raise
    file.close()


def _give_up(file: Any) -> None:
    """Let go of a half written file. Closing an object's would make an object of the part that came."""
    if isinstance(file, AbstractBufferedFile):
        with contextlib.suppress(Exception):  # the first failure is the one told
            file.discard()
        # It closes itself when it is collected, unless it believes that it is closed.
        file.closed = True
    else:
        file.close()
