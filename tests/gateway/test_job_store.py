"""Who may draw a job, and when: decided in the database, whatever the clocks say. On SQLite, and on Postgres
where a server is installed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Float, insert, update

from compat.errors import JobEnded, JobNotFound, TooManyJobs
from engines.errors import StorageFailed
from gateway.database import Database
from gateway.jobs.job import Answer, Job, new_job_id
from gateway.jobs.store import PORTION, JobStore
from gateway.leases import Lease, is_gone, this_process
from gateway.tables import JOBS, METADATA, SCHEMA

pytestmark = pytest.mark.anyio

HOUR = 3600
DAY = 24 * HOUR
LEASE = 15.0
NOW = 1_800_000_000
DONE = Answer(status=200, body=b"{}")


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Gateway:
    """One of several gateways on a database, with clocks of its own."""

    def __init__(self, database: Database, *, wall: float = NOW, process: str = "") -> None:
        self.wall = Clock(wall)
        self.time = Clock(1000.0)
        self.lease = Lease(database, seconds=LEASE, monotonic=self.time, process=process)
        self.store = JobStore(database, clock=self.wall)

    async def take(self, *models: str) -> Job | None:
        """What a worker does in each of its rounds."""
        if not self.lease.held:
            await self.lease.beat()
        await self.lease.bury()
        await self.store.free()
        return await self.store.claim(self.lease.owner, models or ("demo",))

    async def finish(self, job: Job) -> bool:
        return await self.store.finish(job, self.lease.owner, DONE, keep_seconds=DAY)


def job(caller: str = "me", *, token: str | None = None, model: str = "demo") -> Job:
    return Job(
        id=new_job_id(),
        model=model,
        caller=caller,
        endpoint="/v1/images/generations",
        request_id="req_1",
        token=token,
        created_at=NOW,
        expires_at=NOW + DAY,
    )


async def test_job_is_kept_as_it_was(database: Database) -> None:
    gateway = Gateway(database)
    given = await gateway.store.add(job())
    assert await gateway.store.get(given.id) == given
    with pytest.raises(JobNotFound):
        await gateway.store.get("job_none")


async def test_callers_take_turns(database: Database) -> None:
    gateway = Gateway(database)
    busy = [await gateway.store.add(job("busy")) for _ in range(4)]
    first = await gateway.take()
    other = [await gateway.store.add(job("other")) for _ in range(2)]
    assert first == (await gateway.store.get(busy[0].id))
    positions = await gateway.store.positions([*busy[1:], *other])
    assert [positions[each.id] for each in (busy[1], other[0], busy[2], other[1], busy[3])] == [0, 1, 2, 3, 4]
    taken = [await gateway.take() for _ in range(5)]
    wanted = [busy[1], other[0], busy[2], other[1], busy[3]]
    assert [each and each.id for each in taken] == [each.id for each in wanted]
    assert await gateway.take() is None


async def test_many_at_once_take_every_job_once(database: Database) -> None:
    gateways = [Gateway(database, process=str(number)) for number in range(3)]
    jobs = {(await gateways[0].store.add(job())).id for _ in range(9)}
    taken = await asyncio.gather(*(gateway.take() for gateway in gateways for _ in range(4)))
    ids = [each.id for each in taken if each is not None]
    assert sorted(ids) == sorted(jobs)


async def test_token_is_taken_on_once(database: Database) -> None:
    gateway = Gateway(database)
    made = await asyncio.gather(*(gateway.store.add(job(token="t")) for _ in range(4)))
    assert len({each.id for each in made}) == 1


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_job_is_taken_over_when_its_gateway_is_silent_whatever_the_clocks_say(
    database: Database, jump: int
) -> None:
    alive, other = Gateway(database), Gateway(database, wall=NOW + jump)
    await alive.store.add(job())
    taken = await alive.take()
    assert taken is not None
    for _ in range(4):
        alive.wall.now -= jump
        for gateway in (alive, other):
            gateway.time.now += 0.9 * LEASE
        await alive.lease.beat()
        assert await other.take() is None
    other.time.now += 1.1 * LEASE
    again = await other.take()
    assert again is not None
    assert (again.id, again.claims) == (taken.id, 2)
    assert not await alive.finish(taken)
    assert await other.finish(again)


async def test_gateway_that_was_given_up_lets_go_and_begins_anew(database: Database) -> None:
    slow, other = Gateway(database), Gateway(database)
    told: list[str] = []
    slow.lease.lost.append(lambda: told.append("lost"))
    await slow.store.add(job())
    assert await slow.take() is not None
    before = slow.lease.owner
    await other.take()
    other.time.now += 1.1 * LEASE
    await other.take()
    assert await slow.store.claim(before, ["demo"]) is None
    slow.time.now += LEASE
    assert not slow.lease.held
    await slow.lease.beat()
    assert told == ["lost"]
    assert slow.lease.held
    assert slow.lease.owner != before


async def test_work_of_a_gateway_that_died_on_this_machine_is_taken_over_at_once(database: Database) -> None:
    own = this_process()
    if own is None:
        pytest.skip("this system does not tell of its processes")
    machine, _, _ = own.split(" ")
    dead, other = Gateway(database, process=f"{machine} {os.getpid()} 1"), Gateway(database, process=own)
    await dead.store.add(job())
    assert await dead.take() is not None
    assert await other.take() is not None


def test_process_that_is_not_known_is_not_taken_for_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    own = this_process()
    if own is None:
        pytest.skip("this system does not tell of its processes")
    assert not is_gone(own)
    assert not is_gone(None)
    assert not is_gone("another-machine/pid:[1] 1 1")
    born = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    named = f"{own.split(' ')[0]} {child.pid} {born}"
    assert not is_gone(named)
    child.communicate(b"\n")
    assert is_gone(named)


async def test_nothing_that_is_kept_is_lost_by_an_hour(database: Database) -> None:
    gateway = Gateway(database)
    await gateway.store.add(job())
    taken = await gateway.take()
    assert taken is not None
    await gateway.finish(taken)
    waiting = await gateway.store.add(job())
    gateway.wall.now = NOW + DAY + HOUR - 1
    await gateway.store.expire(keep_seconds=DAY)
    assert (await gateway.store.get(waiting.id)).status == "queued"
    assert await gateway.store.remove_old() == []
    gateway.wall.now = NOW + DAY + HOUR + 1
    assert not await gateway.store.expire(keep_seconds=DAY)
    assert await gateway.store.remove_old() == [taken.id]
    assert (await gateway.store.get(waiting.id)).status == "expired"


async def test_times_beyond_the_year_2038_are_kept(database: Database) -> None:
    gateway = Gateway(database, wall=2**31 + 5)
    late = job().model_copy(update={"created_at": 2**31, "expires_at": 2**31 + DAY})
    await gateway.store.add(late)
    taken = await gateway.take()
    assert taken is not None
    assert await gateway.finish(taken)
    kept = await gateway.store.get(late.id)
    assert (kept.created_at, kept.started_at, kept.ended_at) == (2**31, 2**31 + 5, 2**31 + 5)


def test_all_times_have_room() -> None:
    times = [each for table in METADATA.tables.values() for each in table.c if each.name.endswith("_at")]
    assert times
    assert {type(each.type) for each in times} <= {BigInteger, Float}


async def test_any_number_of_old_jobs_is_removed(database: Database) -> None:
    gateway = Gateway(database)
    # On Postgres more than a statement may name; SQLite may be built to take more.
    many = PORTION + 1 if database._lite else 32_768
    old = job().model_copy(update={"status": "completed", "ended_at": NOW}).model_dump()
    rows = [old | {"id": str(number), "turn": 1} for number in range(many)]
    await database.write(lambda c: c.execute(insert(JOBS), rows))
    gateway.wall.now = NOW + DAY + HOUR + 1
    removed = 0
    while portion := await gateway.store.remove_old():
        assert len(portion) <= PORTION
        removed += len(portion)
    assert removed == many


async def test_any_number_of_late_jobs_is_ended_in_portions(database: Database) -> None:
    gateway = Gateway(database)
    late = job().model_dump() | {"turn": 1}
    rows = [late | {"id": str(number)} for number in range(PORTION + 1)]
    await database.write(lambda c: c.execute(insert(JOBS), rows))
    gateway.wall.now = NOW + DAY + HOUR + 1
    assert await gateway.store.expire(keep_seconds=DAY)
    assert not await gateway.store.expire(keep_seconds=DAY)
    assert {(await gateway.store.get(row["id"])).status for row in (rows[0], rows[-1])} == {"expired"}


async def test_no_more_of_a_callers_jobs_wait_than_may(database: Database) -> None:
    gateway = Gateway(database)
    first = await gateway.store.add(job(token="t"), most=2)
    await gateway.store.add(job(), most=2)
    with pytest.raises(TooManyJobs):
        await gateway.store.add(job(), most=2)
    assert await gateway.store.add(job(token="t"), most=2) == first
    await gateway.store.add(job("another"), most=2)
    await gateway.take()
    await gateway.store.add(job(), most=2)
    await gateway.store.add(job())


async def test_only_what_is_unfinished_is_cancelled(database: Database) -> None:
    gateway = Gateway(database)
    made = await gateway.store.add(job())
    taken = await gateway.take()
    assert taken is not None
    assert (await gateway.store.cancel(made.id, keep_seconds=DAY)).status == "cancelled"
    assert not await gateway.finish(taken)
    with pytest.raises(JobEnded):
        await gateway.store.cancel(made.id, keep_seconds=DAY)


async def test_work_goes_on_when_the_caller_is_cancelled(database: Database) -> None:
    store = JobStore(database, clock=lambda: NOW)
    jobs = [job() for _ in range(20)]
    tasks = [asyncio.create_task(store.add(each)) for each in jobs]
    for number, task in enumerate(tasks):
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await database.close()
    begun = [each for each, task in zip(jobs, tasks, strict=True) if task.cancelled()]
    assert begun
    assert len((await store.page(after=None, limit=100))[0]) >= len(begun) - 1


async def test_tables_of_another_version_are_left_alone(tmp_path: Path) -> None:
    first = Database(folder=tmp_path)
    await first.write(lambda c: c.execute(update(SCHEMA).values(version=99)))
    await first.close()
    with pytest.raises(StorageFailed, match="version 99"):
        await JobStore(Database(folder=tmp_path), clock=lambda: NOW).get("x")
