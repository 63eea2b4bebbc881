"""Named bytes on a local folder, in memory and on a real S3 server: the same for all."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines.errors import StorageFailed
from gateway.objects import CHUNK, STALE_SECONDS, Objects
from tests.gateway.s3_server import s3_server

pytestmark = pytest.mark.anyio

Place = Callable[[], Objects]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    with s3_server() as url:
        yield url


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Opens the same empty place, each time as a process that has just started."""
    if request.param == "s3":
        options = {"key": "x", "secret": "y", "endpoint_url": request.getfixturevalue("s3")}
        import s3fs

        bucket = f"bucket-{time.time_ns()}"
        s3fs.S3FileSystem(**options).mkdir(bucket)
        return lambda: Objects(f"s3://{bucket}/pre/fix", {**options, "skip_instance_cache": True})
    if request.param == "memory":
        name = f"memory://{time.time_ns()}"
        return lambda: Objects(name)
    return lambda: Objects(str(tmp_path / "a folder"))


async def test_what_was_written_is_read_after_a_restart(place: Place) -> None:
    await place().write("images/1/one.png", b"0123456789")
    objects = place()
    assert await objects.size("images/1/one.png") == 10
    assert await objects.read("images/1/one.png") == b"0123456789"
    assert await objects.read("images/1/one.png", 2, 5) == b"234"


async def test_what_is_not_there_is_none(place: Place) -> None:
    objects = place()
    assert await objects.size("nothing") is None
    assert await objects.read("nothing") is None
    assert await objects.names("nothing") == []
    await objects.remove("nothing")


async def test_folders_are_listed_and_removed(place: Place) -> None:
    objects = place()
    for path in ("images/1/a.png", "images/1/b.png", "images/2/c.png"):
        await objects.write(path, b"x")
    assert sorted(await objects.names("images")) == ["1", "2"]
    assert sorted(await objects.names("images/1")) == ["a.png", "b.png"]
    await objects.remove_folder("images/1")
    await objects.remove("images/2/c.png")
    assert await objects.read("images/1/a.png") is None
    assert await objects.names("images/2") == []


async def test_large_file_is_moved_in_pieces(place: Place) -> None:
    content = os.urandom(2 * CHUNK + 7)
    objects = place()
    await objects.write("large", io.BytesIO(content))
    pieces = [piece async for piece in objects.chunks("large", 3, len(content))]
    assert len(pieces) == 3
    assert b"".join(pieces) == content[3:]


async def test_writer_that_fails_leaves_nothing(place: Place) -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            if not found:
                raise OSError(5, "Input/output error")
            return found

    objects = place()
    with pytest.raises(StorageFailed, match="Input/output error"):
        await objects.write("files/torn", Torn(b"some"))
    assert await objects.read("files/torn") is None
    assert await objects.names("files") == []


async def test_disk_that_is_full_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit of the file size is a disk of that size."""
    objects = Objects(str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(StorageFailed, match="File too large"):
            await objects.write("images/large", bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "images").iterdir()) == []


async def test_half_of_a_dead_writer_is_never_listed_and_is_swept(tmp_path: Path) -> None:
    objects = Objects(str(tmp_path))
    await objects.write("files/whole", b"x")
    old, fresh = tmp_path / "files" / "a.part-1", tmp_path / "files" / "b.part-2"
    for part in (old, fresh):
        part.write_bytes(b"half")
    os.utime(old, (0, time.time() - STALE_SECONDS - 1))
    assert await objects.names("files") == ["whole"]
    await objects.sweep("files")
    assert not old.exists()
    assert fresh.exists()


async def test_other_work_goes_on_while_a_storage_is_slow(tmp_path: Path) -> None:
    go_on = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert go_on.wait(30)
            return super().read(size)

    objects = Objects(str(tmp_path))
    writing = asyncio.create_task(objects.write("slow", Slow(b"at last")))
    assert await objects.names("") == []
    go_on.set()
    await writing
    assert await objects.read("slow") == b"at last"
