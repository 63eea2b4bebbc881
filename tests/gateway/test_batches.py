"""Who works on a batch, with several gateways over one storage and one database: one at a time, and the next
when that one dies. On SQLite, and on Postgres where a server is installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from engines.errors import StorageFailed
from gateway.batch import Batch, Line, Outcome, new_batch
from gateway.batch_claims import BatchClaims
from gateway.batch_records import BatchRecords
from gateway.batches import Batches
from gateway.database import Database
from gateway.files import Files
from gateway.leases import Lease
from gateway.objects import Objects
from gateway.tables import BATCHES
from tests.gateway.later import GENERATIONS, gateway
from tests.gateway.test_files_and_batches import lines
from tests.gateway.test_job_store import Clock

pytestmark = pytest.mark.anyio

LEASE = 15.0


class Gateway:
    """What one of several gateways has of batches; ``drawn`` is what it drew, unless it is ``held``."""

    def __init__(self, database: Database, folder: Path) -> None:
        objects = Objects(str(folder))
        self.time = Clock(1000.0)
        self.lease = Lease(database, seconds=LEASE, monotonic=self.time, process="")
        self.files = Files(objects)
        self.records = BatchRecords(objects)
        self.batches = Batches(
            self.records,
            BatchClaims(database),
            self.lease,
            self._draw,
            files=self.files,
            poll_seconds=0.01,
        )
        self.drawn: list[tuple[str, str]] = []
        self.held: str | None = None
        self.free = asyncio.Event()

    async def _draw(self, batch: Batch, line: Line) -> Outcome:
        if line.custom_id == self.held:
            await self.free.wait()
        self.drawn.append((batch.id, line.custom_id))
        return Outcome(custom_id=line.custom_id, status_code=200, request_id="req_1", body={})

    async def submit(self, count: int) -> Batch:
        """A batch of so many lines."""
        file = await self.files.create(lines(*[{}] * count), filename="in.jsonl", purpose="batch")
        made = new_batch(
            endpoint="/v1/images/generations", input_file_id=file.id, metadata=None, output_seconds=None
        )
        return await self.batches.submit(made)

    async def reached(
        self, batch: Batch, wanted: Callable[[Batch], object] = lambda each: each.ended
    ) -> Batch:
        """The batch once it is so, as this gateway shows it."""
        with anyio.fail_after(30):
            while not wanted(batch):
                await anyio.sleep(0.005)
                batch = await self.batches.get(batch.id)
        return batch


@pytest.fixture
async def two(database: Database, tmp_path: Path) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways; the first of them is at work."""
    made = Gateway(database, tmp_path), Gateway(database, tmp_path)
    made[0].batches.start()
    yield made
    for each in made:
        each.batches.close()
        each.lease.close()


async def test_two_gateways_draw_every_line_once(two: tuple[Gateway, Gateway]) -> None:
    one, other = two
    other.batches.start()
    made = [await one.submit(3) for _ in range(6)]
    for batch in made:
        assert (await one.reached(batch)).status == "completed"
    wanted = [(batch.id, f"line-{number}") for batch in made for number in range(3)]
    assert sorted(one.drawn + other.drawn) == sorted(wanted)


async def given_up(one: Gateway, other: Gateway) -> Batch:
    """A batch that one gateway was silent at for too long, in the middle of its third line; now ended."""
    one.held = "line-2"
    batch = await one.submit(4)
    await one.reached(batch, lambda each: each.request_counts.completed == 2)
    other.batches.start()
    await other.lease.bury()
    other.time.now += 1.1 * LEASE
    return await other.reached(batch)


async def test_batch_of_a_silent_gateway_goes_on_where_it_stopped(two: tuple[Gateway, Gateway]) -> None:
    done = await given_up(*two)
    assert (done.status, done.request_counts.completed) == ("completed", 4)
    assert two[1].drawn == [(done.id, "line-2"), (done.id, "line-3")]


async def test_gateway_that_was_given_up_changes_nothing_any_more(
    two: tuple[Gateway, Gateway], tmp_path: Path
) -> None:
    one, other = two
    done = await given_up(one, other)
    one.free.set()
    with anyio.fail_after(30):
        while not (tmp_path / "batches" / done.id / "noted.json").exists():
            await anyio.sleep(0.005)
    assert await other.batches.get(done.id) == done
    await one.lease.beat()
    other.batches.close()
    await one.reached(await one.submit(1))
    assert [line for batch, line in one.drawn if batch == done.id] == ["line-0", "line-1", "line-2"]
    assert await one.batches.get(done.id) == done


async def test_gateway_that_learns_that_it_was_given_up_drops_its_line(two: tuple[Gateway, Gateway]) -> None:
    one, other = two
    done = await given_up(one, other)
    await one.lease.beat()
    one.free.set()
    other.batches.close()
    await one.reached(await one.submit(1))
    assert (done.id, "line-2") not in one.drawn


async def test_batch_is_cancelled_at_another_gateway(two: tuple[Gateway, Gateway]) -> None:
    one, other = two
    one.held = "line-1"
    batch = await one.submit(4)
    await other.reached(batch, lambda each: each.request_counts.completed == 1)
    assert (await other.batches.cancel(batch.id)).status == "cancelling"
    assert (await one.batches.get(batch.id)).status == "cancelling"
    one.free.set()
    done = await other.reached(batch)
    assert (done.status, done.request_counts.completed) == ("cancelled", 2)
    assert done.cancelling_at is not None


async def test_waiting_batch_goes_to_whoever_is_free(two: tuple[Gateway, Gateway]) -> None:
    one, other = two
    one.held = "line-0"
    first = await one.submit(1)
    await one.reached(first, lambda each: each.status == "in_progress")
    waiting = await one.submit(1)
    other.batches.start()
    await one.reached(waiting)
    assert other.drawn == [(waiting.id, "line-0")]
    assert (await one.batches.get(first.id)).status == "in_progress"


async def test_batch_that_cannot_be_shared_out_is_not_taken_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    made = Gateway(Database(f"sqlite:///{tmp_path}/file/x.db"), tmp_path)
    with pytest.raises(StorageFailed):
        await made.submit(1)
    assert await made.batches.all() == []


async def test_table_that_came_later_is_made_in_an_older_database(tmp_path: Path) -> None:
    older = Database(folder=tmp_path)
    await older.write(lambda c: c.run_sync(BATCHES.drop))
    await older.close()
    made = Gateway(Database(folder=tmp_path), tmp_path)
    made.batches.start()
    assert (await made.reached(await made.submit(1))).status == "completed"
    made.batches.close()
    made.lease.close()


async def test_batch_goes_on_at_another_gateway_when_its_own_stops(tmp_path: Path) -> None:
    slow: dict[str, Any] = {"model": "demo", "prompt": "hills", "num_inference_steps": 6}
    async with gateway(tmp_path) as (_, other):
        async with gateway(tmp_path) as (_, one):
            parts = {"file": ("in.jsonl", lines(*[slow] * 4))}
            file = (await one.post("/v1/files", files=parts, data={"purpose": "batch"})).json()
            asked = {"input_file_id": file["id"], "endpoint": GENERATIONS, "completion_window": "24h"}
            batch = (await one.post("/v1/batches", json=asked)).json()
            batch = await shown(other, batch, lambda each: each["request_counts"]["completed"])
        folder = tmp_path / "storage" / "batches" / batch["id"]
        kept = [json.loads(path.read_bytes()) for path in folder.glob("[0-9].json")]
        assert 1 <= len(kept) < 4
        done = await shown(other, batch, lambda each: each["status"] == "completed")
        rows = (await other.get(f"/v1/files/{done['output_file_id']}/content")).text.splitlines()
    made = [json.loads(row)["response"]["request_id"] for row in rows]
    assert len(made) == 4
    assert {outcome["request_id"] for outcome in kept} <= set(made)


async def shown(
    client: httpx2.AsyncClient, batch: dict[str, Any], wanted: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """The batch as a gateway shows it once it is so."""
    with anyio.fail_after(60):
        while not wanted(batch):
            await anyio.sleep(0.01)
            batch = (await client.get(f"/v1/batches/{batch['id']}")).json()
    return batch
