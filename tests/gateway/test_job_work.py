"""The one who works on jobs: what it waits for, and what it lets go of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import httpx2
import pytest
from sqlalchemy import delete

from engines.calls import EngineCall, LoadPhase, LoadProgress
from engines.detection import demo_card
from engines.errors import LoadFailed
from gateway.app import create_app
from gateway.database import Database
from gateway.jobs.calls import JobCall, RemoteNative
from gateway.jobs.job import Answer
from gateway.jobs.jobs import Jobs
from gateway.jobs.work import MOST_LOAD_FAILURES, Told
from gateway.leases import Lease
from gateway.objects import Objects
from gateway.service import Service
from gateway.settings import Settings
from gateway.tables import LEASES
from tests.gateway import in_process
from tests.gateway.conftest import demo_config
from tests.gateway.in_process import InProcessEngine
from tests.gateway.later import QUICK, gateway, reached, submitted
from tests.gateway.test_job_store import job
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio


class Failing(InProcessEngine):
    """An engine whose first loads fail."""

    def __init__(self, failures: int) -> None:
        super().__init__(demo_card())
        self.failures = failures

    async def warm(self, *, look: bool = False) -> AsyncIterator[LoadProgress]:
        if self.failures:
            self.failures -= 1
            yield LoadProgress(phase=LoadPhase.FAILED, reason="the storage is away")
            return
        async for progress in super().warm(look=look):
            yield progress


@pytest.mark.parametrize(
    ("failures", "status"), [(MOST_LOAD_FAILURES - 1, "completed"), (MOST_LOAD_FAILURES, "failed")]
)
async def test_loads_that_fail_are_waited_out_a_few_times(failures: int, status: str) -> None:
    engine = Failing(failures)
    service = Service(lambda _: engine)
    settings = Settings(failure_backoff_seconds=0.01)
    service.configure(demo_config().model_copy(update={"settings": settings}))
    transport = httpx2.ASGITransport(app=create_app(service))
    client = httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60)
    async with in_process.closing(service), client:
        ended = await reached(client, await submitted(client, QUICK))
    assert (ended["status"], engine.failures) == (status, 0)
    if status == "failed":
        assert ended["error"]["code"] == "model_load_failed"
        assert "the storage is away" in ended["error"]["message"]


async def test_load_that_fails_while_its_caller_is_told_something_has_failed_for_him() -> None:
    """However long he takes to write it down, and though the model may be tried again by then."""
    service = Service(lambda _: Failing(1))
    settings = Settings(failure_backoff_seconds=0.01)
    service.configure(demo_config().model_copy(update={"settings": settings}))
    call = EngineCall(request_id="r", method="__call__", parameters={"prompt": "x", "num_inference_steps": 1})
    async with in_process.closing(service):
        drawing = service.stream("demo", call, hold_seconds=60)
        await anext(drawing)
        # It has failed, and might be tried again.
        with anyio.fail_after(30):
            while service.status("demo").retry_after_seconds != 0:
                await anyio.sleep(0.01)
        with pytest.raises(LoadFailed, match="the storage is away"):
            await anext(drawing)


async def test_job_taken_again_after_a_lost_lease_is_still_known_when_its_first_run_is_over(
    tmp_path: Path,
) -> None:
    """The first run takes its time to end, and the second, which has begun by then, can be cancelled."""
    begun: asyncio.Queue[asyncio.Task[object] | None] = asyncio.Queue()
    may_end = asyncio.Event()

    async def draw(call: JobCall, told: Told) -> Answer:  # noqa: ARG001  # what a job is drawn with
        begun.put_nowait(asyncio.current_task())
        try:
            await asyncio.Event().wait()
        finally:
            # However often it is told.
            while not may_end.is_set():
                with suppress(asyncio.CancelledError):
                    await may_end.wait()
        raise AssertionError("unreachable: nothing sets that event")

    database = Database(folder=tmp_path)
    lease = Lease(database)
    jobs = Jobs(
        database,
        Objects("memory://runs"),
        lease,
        draw,
        models=lambda: ("demo",),
        keep_seconds=lambda: 3600,
        most=lambda: 0,
        private=lambda: False,
        told=lambda: None,
    )
    async with asyncio.timeout(30):
        taken = await jobs.submit(job(), RemoteNative(model="demo", base_url="", body={}))
        first = await begun.get()
        await database.write(lambda c: c.execute(delete(LEASES)))
        await lease.beat()
        jobs._worker.look()
        second = await begun.get()
        assert first is not None
        assert second is not None
        may_end.set()
        await asyncio.wait([first])
        await jobs.cancel(taken.id)
        await asyncio.wait([second])
    jobs.close()
    lease.close()
    await database.close()


async def test_no_more_jobs_of_a_caller_wait_than_may() -> None:
    async with gateway(max_jobs_per_key=1, api_keys=["one", "two"]) as (service, client):
        service.jobs._worker.close()
        one, two = ({"authorization": f"Bearer {key}", "prefer": "respond-async"} for key in ("one", "two"))
        path = "/v1/images/generations"
        accepted = await client.post(path, json=QUICK, headers=one)
        assert accepted.status_code == 202
        refused = await client.post(path, json=QUICK, headers=one)
        message = assert_error(refused, 429, type="rate_limit_error", code="rate_limit_exceeded", param=None)
        assert message.startswith("Rate limit reached: 1 of your jobs wait")
        assert refused.headers["retry-after"] == "10"
        assert (await client.post(path, json=QUICK, headers=two)).status_code == 202
        await client.delete(f"/v1/jobs/{accepted.json()['id']}", headers=one)
        assert (await client.post(path, json=QUICK, headers=one)).status_code == 202
