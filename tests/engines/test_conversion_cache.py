"""The cache of converted models: atomic, shared, resumed, bounded, pruned."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines.conversion.cache import Cache, Manifest, cache_root
from engines.conversion.digests import Digests
from engines.errors import NotLoadable

KEY = "a" * 32


def manifest(size: int = 5) -> Manifest:
    return Manifest(model="m", family="kandinsky-3", origins=(), size=size, created=time.time())


def fill(folder: Path) -> Manifest:
    (folder / "unet").mkdir()
    (folder / "unet" / "weights").write_bytes(b"12345")
    return manifest()


def test_an_entry_appears_complete(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    seen = []

    def build(folder: Path) -> Manifest:
        seen.append(cache.folder(KEY))
        return fill(folder)

    folder = cache.make(KEY, 5, build)

    assert seen == [None]
    assert cache.folder(KEY) == folder
    assert (folder / "unet" / "weights").read_bytes() == b"12345"
    assert [path.name for path in folder.parent.iterdir()] == [KEY]


def test_an_entry_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.make(KEY, 5, fill)

    def never(_: Path) -> Manifest:
        raise AssertionError("made twice")

    assert cache.make(KEY, 5, never) == cache.folder(KEY)


def test_what_a_failed_try_completed_is_found_by_the_next(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(folder: Path) -> Manifest:
        (folder / "movq").mkdir()
        raise NotLoadable("m", "interrupted")

    def go_on(folder: Path) -> Manifest:
        assert (folder / "movq").is_dir()
        return manifest()

    with pytest.raises(NotLoadable):
        cache.make(KEY, 5, fail)
    assert cache.folder(KEY) is None
    assert cache.make(KEY, 5, go_on)


MAKER = """
import sys, time
from pathlib import Path
from engines.conversion.cache import Cache, Manifest

def build(folder):
    with (Path(sys.argv[1]) / "made").open("a") as log:
        log.write("x")
    (folder / "part").write_text("x")
    print("building", flush=True)
    time.sleep(float(sys.argv[2]))
    return Manifest(model="m", family="f", origins=(), size=1, created=0)

Cache(Path(sys.argv[1])).make("a" * 32, 1, build)
print("done", flush=True)
"""


def start(root: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKER, str(root), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_at_once_make_one_entry(tmp_path: Path) -> None:
    makers = [start(tmp_path, 0.3) for _ in range(3)]

    for maker in makers:
        assert maker.stdout is not None
        with maker.stdout:
            assert maker.stdout.read().endswith("done\n")
        assert maker.wait() == 0
    assert (tmp_path / "made").read_text() == "x"
    assert len([*(tmp_path / "converted").iterdir()]) == 1


def test_a_killed_maker_leaves_the_lock_and_no_entry(tmp_path: Path) -> None:
    killed = start(tmp_path, 60)
    assert killed.stdout is not None
    with killed.stdout:
        assert killed.stdout.readline() == "building\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    cache = Cache(tmp_path)
    assert cache.folder(KEY) is None

    def go_on(folder: Path) -> Manifest:
        assert (folder / "part").exists()
        return manifest()

    assert cache.make(KEY, 1, go_on)


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage(2**30))
    cache = Cache(tmp_path / "cache")

    with pytest.raises(NotLoadable, match=r"takes 7\.0 GiB .* has 1\.0 GiB left.*KANDINSKY_CACHE"):
        cache.make(KEY, 7 * 2**30, fill)
    assert not [*(tmp_path / "cache" / "converted").iterdir()]


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(NotLoadable, match="KANDINSKY_CACHE names another folder"):
        Cache(tmp_path / "file" / "cache").make(KEY, 5, fill)


def test_entries_are_listed_and_pruned_unless_they_are_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    other = "b" * 32
    cache.make(KEY, 5, fill)
    cache.make(other, 5, fill)
    (tmp_path / "converted" / f".{'c' * 32}.partial").mkdir()

    assert {entry.key for entry in cache.entries()} == {KEY, other}
    with cache.using(KEY):
        assert {entry.key: entry.in_use for entry in cache.entries()} == {KEY: True, other: False}
        removed, freed = cache.prune(lambda _: True)
    assert [entry.key for entry in removed] == [other]
    assert freed == 5
    assert [path.name for path in (tmp_path / "converted").iterdir()] == [KEY]


def test_a_cache_that_cannot_be_written_is_used_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    folder = cache.make(KEY, 5, fill)
    shutil.rmtree(tmp_path / "locks")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(os, "utime", refuse)

    assert cache.make(KEY, 5, fill) == folder
    with cache.using(KEY):
        assert cache.folder(KEY) == folder
    assert [entry.in_use for entry in cache.entries()] == [False]
    assert cache.prune(lambda _: True) == ([], 0)


def test_an_entry_that_lost_bytes_is_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    folder = cache.make(KEY, 5, fill)
    (folder / "unet" / "weights").write_bytes(b"123")

    assert cache.folder(KEY) is None
    assert cache.make(KEY, 5, fill) == folder
    assert (folder / "unet" / "weights").read_bytes() == b"12345"


def test_the_rest_of_a_cache_is_pruned_with_everything(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("packs", "digests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"123")

    assert cache.prune(lambda _: True) == ([], 0)
    assert cache.prune(lambda _: True, rest=True) == ([], 6)


def test_a_source_that_cannot_be_read_is_not_blamed_on_the_cache(tmp_path: Path) -> None:
    def build(_: Path) -> Manifest:
        raise FileNotFoundError(2, "No such file or directory", "movq.pt")

    with pytest.raises(FileNotFoundError):
        Cache(tmp_path).make(KEY, 5, build)


def test_a_damaged_manifest_hides_an_entry_and_breaks_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (cache.make(KEY, 5, fill) / "conversion.json").write_text("{")

    assert cache.entries() == []


def test_a_digest_is_computed_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    digests, file = Digests(tmp_path / "digests"), tmp_path / "file"
    file.write_bytes(b"one")
    read: list[int] = []

    assert digests.known(file) is None
    first = digests.of(file, read.append)
    assert digests.known(file) == first
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert digests.known(file) is None
    assert digests.of(file, read.append) != first
    assert read == [3, 3]
    (tmp_path / "digests").joinpath(next((tmp_path / "digests").iterdir()).name).write_text("{")
    assert digests.known(file) is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"KANDINSKY_CACHE": "/x"}, "/x"),
        ({"XDG_CACHE_HOME": "/y"}, "/y/kandinsky-gateway"),
        ({}, str(Path.home() / ".cache" / "kandinsky-gateway")),
    ],
)
def test_the_cache_lies_where_the_environment_says(environment: dict[str, str], expected: str) -> None:
    assert str(cache_root(environment)) == expected
