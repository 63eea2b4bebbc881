"""Weight files brought into the page cache ahead of whoever maps them.

A mapped file that is not there yet is read by page faults, in the order of use, while whoever faults waits
and the disk waits for the next fault. A thread that asks for the same files from front to end keeps the disk
at work while modules are built. Nothing is copied: the pages are the ones that will be mapped.
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
"""Bytes that are waited for at a time: with slow disks, the time that stopping takes."""
_AHEAD: Final = 4 * _CHUNK
"""Bytes beyond that chunk that the disk is asked for, so that it always has something to do."""
_SHARE: Final = 0.5
"""Of the available memory: the rest is for what is made of the files."""


def available_memory() -> int:
    """Bytes that processes can have without swapping, what is cached of files included. Source: psutil."""
    return int(psutil.virtual_memory().available)


@contextmanager
def prefetching(
    files: Sequence[Path], *, available: Callable[[], int] = available_memory
) -> Iterator[threading.Thread]:
    """Bring files into the page cache, one after the other, in a thread that ends with the context.

    A help that cannot fail: a file that cannot be read is left to whoever needs it, and where the system
    takes no advice on files (macOS) nothing is done. What is cached already is passed over. All files
    together take at most half of the ``available`` memory (bytes, asked for again and again), so that the
    first are not driven out by the last.

    Yields:
        The thread, for whoever wants to wait for its end.
    """
    stop = threading.Event()
    thread = threading.Thread(
        target=_fetch_all, args=(tuple(files), stop, available), name="prefetching", daemon=True
    )
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join()


def _fetch_all(files: Sequence[Path], stop: threading.Event, available: Callable[[], int]) -> None:
    if not hasattr(os, "posix_fadvise"):
        return
    passed = 0
    for path in files:
        with suppress(OSError), path.open("rb", buffering=0) as opened:
            file, size = opened.fileno(), os.fstat(opened.fileno()).st_size
            # The single bytes that are read here are no reason to read what lies around them.
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
            for start in range(0, size, _CHUNK):
                room = int(_SHARE * available()) - passed
                chunk = min(_CHUNK, size - start)
                if stop.is_set() or room < chunk:
                    return
                if not _is_cached(file, start) or not _is_cached(file, start + chunk - 1):
                    os.posix_fadvise(file, start, min(chunk + _AHEAD, room), os.POSIX_FADV_WILLNEED)
                    # Waits until the disk has come so far.
                    os.pread(file, 1, start + chunk - 1)
                passed += chunk


def _is_cached(file: int, place: int) -> bool:
    """Whether the byte at a place can be had without the disk; where that cannot be told, it cannot."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        return os.preadv(file, [bytearray(1)], place, os.RWF_NOWAIT) == 1
    except OSError:
        return False
