"""Bytes that come in piece by piece and are wanted as a whole: beyond a little they wait in a file."""

from __future__ import annotations

import asyncio
import mmap
import tempfile
from types import TracebackType
from typing import IO, Final, Self

from engines.errors import StorageFailed

IN_MEMORY: Final = 1 << 20
"""Bytes that are kept in memory, and that are written at once beyond that."""


class Spool:
    """A context manager: what was put aside in a file is gone afterwards.

    Many slow uploads then take a megabyte each, whatever they weigh. The file has no name and lies in the
    system's folder for such (``TMPDIR``).
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._map is not None:
            self._map.close()
        if self._file is not None:
            self._file.close()

    async def add(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            StorageFailed: there is no place for it.
        """
        self._pending += piece
        if len(self._pending) > IN_MEMORY:
            await asyncio.to_thread(self._put_aside)

    def whole(self) -> bytearray | mmap.mmap:
        """Everything that has come, for as long as the context lasts.

        Raises:
            StorageFailed: as `add`.
        """
        if self._file is None:
            return self._pending
        self._put_aside()
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def _put_aside(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the context
            self._file.write(self._pending)
            self._file.flush()
        except OSError as error:
            raise StorageFailed("written", error.strerror or str(error)) from error
        self._pending = bytearray()
