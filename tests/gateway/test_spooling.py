"""Large bodies wait in a file; small ones, and what is left of a full disk, do not."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from engines.errors import StorageFailed
from gateway.spooling import IN_MEMORY, Spool

pytestmark = pytest.mark.anyio

PIECE = os.urandom(1 << 16)


@pytest.mark.parametrize("pieces", [0, 3, 16, 17, 40])
async def test_a_spool_gives_back_what_it_took(pieces: int) -> None:
    with Spool() as spool:
        for _ in range(pieces):
            await spool.add(PIECE)
        assert bytes(spool.whole()) == PIECE * pieces


async def test_a_large_body_takes_little_memory_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Spool() as spool:
        for _ in range(100):
            await spool.add(PIECE)
            assert len(spool._pending) <= IN_MEMORY
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with Spool() as spool, pytest.raises(StorageFailed, match="No such file"):
        await spool.add(PIECE * 17)
