"""Files are brought into the page cache in the background, and nothing else happens to them."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from pathlib import Path

import pytest

from engines.prefetching import prefetching

MEGABYTE = 2**20
PLENTY = 2**40
DEADLINE = 60.0


def resident(path: Path) -> int:
    """Bytes of a file that are in the page cache. Source: mincore(2)."""
    size = path.stat().st_size
    pages = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE) as mapped:
        anchor = ctypes.c_char.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(size), pages)
        del anchor
    assert failed == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def content(megabytes: int) -> bytes:
    """The bytes of a file of this size."""
    return bytes(range(256)) * (megabytes * MEGABYTE // 256)


def on_disk_only(path: Path, megabytes: int) -> Path:
    """Write a file and take it out of the page cache."""
    path.write_bytes(content(megabytes))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(path):
        pytest.skip("this file system keeps its files in memory")
    return path


def test_files_become_resident(tmp_path: Path) -> None:
    files = [on_disk_only(tmp_path / name, 9) for name in ("first", "second")]
    with prefetching(files, available=lambda: PLENTY) as thread:
        thread.join(DEADLINE)
    assert [resident(file) for file in files] == [9 * MEGABYTE] * 2


def test_content_stays_as_it_is(tmp_path: Path) -> None:
    file = on_disk_only(tmp_path / "weights", 5)
    changed = file.stat().st_mtime_ns
    with prefetching([file], available=lambda: PLENTY) as thread:
        thread.join(DEADLINE)
    assert file.stat().st_mtime_ns == changed
    assert file.read_bytes() == content(5)


def test_the_thread_ends_with_the_context_however_large_the_file(tmp_path: Path) -> None:
    file = tmp_path / "endless"
    file.touch()
    os.truncate(file, 2**38)
    begun = threading.Event()

    def available() -> int:
        begun.set()
        return PLENTY

    with prefetching([file], available=available) as thread:
        assert begun.wait(DEADLINE)
    assert not thread.is_alive()


def test_the_thread_ends_when_the_load_fails(tmp_path: Path) -> None:
    file = on_disk_only(tmp_path / "weights", 1)
    with pytest.raises(LookupError), prefetching([file], available=lambda: PLENTY) as thread:
        raise LookupError
    assert not thread.is_alive()


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    file = on_disk_only(tmp_path / "weights", 1)
    with prefetching([tmp_path / "missing", tmp_path, file], available=lambda: PLENTY) as thread:
        thread.join(DEADLINE)
    assert resident(file) == MEGABYTE


def test_no_more_than_half_of_the_memory_is_filled(tmp_path: Path) -> None:
    file = on_disk_only(tmp_path / "weights", 48)
    with prefetching([file], available=lambda: 32 * MEGABYTE) as thread:
        thread.join(DEADLINE)
    assert 0 < resident(file) <= 16 * MEGABYTE


def test_an_empty_file_is_no_trouble(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    with prefetching([empty], available=lambda: PLENTY) as thread:
        thread.join(DEADLINE)
    assert not thread.is_alive()
