"""The thread of an engine's pipeline: what it holds on to, and what it does not."""

from __future__ import annotations

import asyncio
import threading
import weakref

import pytest

from engines.pipeline_thread import PipelineThread

pytestmark = pytest.mark.anyio


class Picture:
    """Something that can be seen to be let go."""


async def test_nothing_that_was_made_is_held_once_it_is_handed_over() -> None:
    thread = PipelineThread()
    made = await thread.run(Picture, threading.Event())
    held = weakref.ref(made)
    del made
    await asyncio.sleep(0)
    assert held() is None
    assert not thread.busy


async def test_it_is_busy_until_a_run_has_really_ended() -> None:
    thread, stop, begun, may_end = PipelineThread(), threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait()

    running = asyncio.create_task(thread.run(work, stop))
    await asyncio.to_thread(begun.wait)
    running.cancel()
    await asyncio.to_thread(stop.wait)
    assert thread.busy
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not thread.busy
