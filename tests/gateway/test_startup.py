"""Engines that Serve cannot start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engines.errors import LoadFailed
from gateway.startup import fault_in, unless_failing

pytestmark = pytest.mark.anyio

TRACEBACK = """\
The deployment failed to start 3 times in a row. Error:
Traceback (most recent call last):
  File "/opt/venv/replica.py", line 3420, in __init__
{}
"""


async def events(*words: str) -> AsyncIterator[str]:
    for word in words:
        yield word


async def silence() -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield ""


async def nothing_wrong() -> str | None:
    return None


async def something_wrong() -> str | None:
    return "no program"


async def test_events_pass_in_their_order() -> None:
    seen = [word async for word in unless_failing("k3", events("a", "b", "c"), something_wrong)]
    assert seen == ["a", "b", "c"]


async def test_a_waking_may_end_without_a_word() -> None:
    assert [word async for word in unless_failing("k3", events(), nothing_wrong)] == []


async def test_silence_with_a_fault_is_a_failed_load() -> None:
    with pytest.raises(LoadFailed, match="no program"):
        await anext(unless_failing("k3", silence(), something_wrong, seconds=0.001))


async def test_silence_without_a_fault_goes_on() -> None:
    looked = asyncio.Event()

    async def look() -> str | None:
        looked.set()
        return None

    waiting = asyncio.ensure_future(anext(unless_failing("k3", silence(), look, seconds=0.001)))
    await looked.wait()
    assert not waiting.done()
    waiting.cancel()


def test_a_missing_program_is_told_with_what_helps() -> None:
    words = fault_in(TRACEBACK.format("ModuleNotFoundError: No module named 'engines'"))
    assert "No module named 'engines'" in words
    assert "installed" in words


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("FileNotFoundError: /home/me/secret", "FileNotFoundError"),
        ("ray.exceptions.RuntimeEnvSetupError: failed in /home/me/secret", "RuntimeEnvSetupError"),
        (
            "The worker died: see /home/me/secret",
            "its process dies; where its process was killed",
        ),
    ],
)
def test_other_failures_are_told_without_paths(last: str, words: str) -> None:
    told = fault_in(TRACEBACK.format(last))
    assert words in told
    assert "secret" not in told
