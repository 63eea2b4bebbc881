"""Weight files brought into the page cache ahead of whoever maps them.

A mapped file that is not there yet is read by page faults, a few at a time and in the order of use, while
whoever faults waits. A thread that reads the same files from front to end keeps the disk busy instead.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

_CHUNK: Final = 2**22
"""Bytes that are read at once: what is waited for at most when reading is to stop."""
_AHEAD: Final = 4 * _CHUNK
"""Bytes that the kernel is asked for beyond the chunk that is being read."""
_SHARE: Final = 0.5
"""Of the available memory: the rest is for what is made of the files."""


def available_memory() -> int:
    """Bytes that processes can have without swapping, what is cached of files included. Source: psutil."""
    return int(psutil.virtual_memory().available)


@contextmanager
def prefetching(
    files: Sequence[Path], *, available: Callable[[], int] = available_memory
) -> Iterator[threading.Thread]:
    """Read files into the page cache, one after the other, in a thread that ends with the context.

    A help that cannot fail: a file that cannot be read is left to whoever needs it. What is cached
    already is not read again, and of the others no more than half of the ``available`` memory (bytes) can
    hold, so that the first are not driven out by the last.

    Yields:
        The thread, for whoever wants to wait for its end.
    """
    stop = threading.Event()
    thread = threading.Thread(
        target=_read_all, args=(tuple(files), stop, available), name="prefetching", daemon=True
    )
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join()


def _read_all(files: Sequence[Path], stop: threading.Event, available: Callable[[], int]) -> None:
    buffer = bytearray(_CHUNK)
    passed = 0
    for file in files:
        with suppress(OSError), file.open("rb", buffering=0) as opened:
            size = os.fstat(opened.fileno()).st_size
            for start in range(0, size, _CHUNK):
                passed += min(_CHUNK, size - start)
                if stop.is_set() or passed > _SHARE * available():
                    return
                _read(opened.fileno(), start, buffer)


def _read(file: int, start: int, buffer: bytearray) -> None:
    if _is_cached(file, start):
        return
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, start, _CHUNK + _AHEAD, os.POSIX_FADV_WILLNEED)
    os.preadv(file, [buffer], start)


def _is_cached(file: int, start: int) -> bool:
    """Whether a chunk's first byte can be had without the disk; where that cannot be told, it is read."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        return os.preadv(file, [bytearray(1)], start, os.RWF_NOWAIT) == 1
    except OSError:
        return False
