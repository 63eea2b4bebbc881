"""The end of a job told to an address: signed, tried again, over restarts, and never inside a network."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from sqlalchemy import func, select, update
from starlette.requests import Request
from starlette.responses import Response

from engines.errors import StorageFailed
from gateway.database import Database
from gateway.jobs.job import Answer
from gateway.settings import Settings
from gateway.tables import DELIVERIES
from gateway.webhooks import AT_ONCE, HEADER, PAUSES, TO_ONE, Webhooks
from tests.gateway.later import ASYNC, ENDLESS, GENERATIONS, QUICK, gateway, reached, submitted
from tests.gateway.listening import listening
from tests.gateway.test_job_store import Clock, Gateway, job
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

OLD, NEW = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
LOOPBACK = "127.0.0.0/8"


class Receiver:
    """What is told of events: answers with the statuses it was given, then with 204."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.url = ""
        self.got: list[tuple[bytes, dict[str, str]]] = []
        self._news = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.got.append((await request.body(), dict(request.headers)))
        self._news.set()
        status = self.statuses.pop(0) if self.statuses else 204
        await Response(status_code=status, headers={"location": "http://127.0.0.1:1/"})(scope, receive, send)

    async def event(self, number: int) -> tuple[bytes, dict[str, str]]:
        """The ``number``-th event that came, counted from 1."""
        with anyio.fail_after(30):
            while len(self.got) < number:
                self._news.clear()
                await self._news.wait()
        return self.got[number - 1]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with listening(made) as made.url:
        yield made


@pytest.fixture
async def sdk() -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="none", webhook_secret=NEW) as made:
        yield made


class Bench:
    """A database in which a job has ended, and what delivers from it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = Clock(time.time())
        self.database = Database(folder=folder)
        given = {"webhook_secrets": [NEW, OLD], "webhook_networks": [LOOPBACK], **settings}
        self.settings = Settings.model_validate(given)
        self.webhooks = Webhooks(self.database, lambda: self.settings, clock=self.clock)

    async def end_a_job(self, url: str, status: int = 200) -> str:
        gateway = Gateway(self.database, wall=self.clock.now)
        made = await gateway.store.add(job().model_copy(update={"webhook": url}))
        assert await gateway.take() is not None
        body = Answer(status=status, body=b'{"error": {}}')
        await gateway.store.finish(made, gateway.lease.owner, body, keep_seconds=86400)
        return made.id

    async def left(self) -> int:
        """How many deliveries are still to be made."""
        return await self.database.read(lambda c: c.scalar(select(func.count()).select_from(DELIVERIES))) or 0

    async def until_left(self, number: int) -> None:
        with anyio.fail_after(30):
            while await self.left() != number:
                await anyio.sleep(0.01)

    async def close(self) -> None:
        self.webhooks.close()
        await self.database.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.close()


async def test_end_of_a_job_is_told_as_openai_tells_events(receiver: Receiver, sdk: AsyncOpenAI) -> None:
    async with gateway(webhook_secrets=[NEW], webhook_networks=[LOOPBACK]) as (_, client):
        job = await submitted(client, QUICK, **{HEADER: receiver.url})
        assert job["webhook"] == receiver.url
        body, headers = await receiver.event(1)
        event: Any = sdk.webhooks.unwrap(body, headers)
        assert (event.type, event.object, event.data.id) == ("job.completed", "event", job["id"])
        assert event.id == headers["webhook-id"]
        assert (await reached(client, job))["status"] == "completed"
        other = await submitted(client, ENDLESS, **{HEADER: receiver.url})
        await client.post(f"/v1/jobs/{other['id']}/cancel")
        body, headers = await receiver.event(2)
        event = sdk.webhooks.unwrap(body, headers)
        assert (event.type, event.data.id) == ("job.cancelled", other["id"])


async def test_slow_receiver_delays_nobody_but_itself(bench: Bench, receiver: Receiver) -> None:
    may_answer = asyncio.Event()
    slow_calls = 0

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal slow_calls
        slow_calls += 1
        await may_answer.wait()
        await Response(status_code=204)(scope, receive, send)

    async with listening(slow) as url:
        for number in range(AT_ONCE + 4):
            await bench.end_a_job(f"{url}/hook/{number}" if number % 2 else f"{url}?job={number}")
        bench.webhooks.start()
        bench.clock.now += 1
        await bench.end_a_job(receiver.url)
        bench.webhooks.look()
        await receiver.event(1)
        assert slow_calls <= TO_ONE
        may_answer.set()
        await bench.until_left(0)
    assert slow_calls == AT_ONCE + 4


async def test_every_secret_signs_and_others_do_not_fit(
    bench: Bench, receiver: Receiver, sdk: AsyncOpenAI
) -> None:
    bench.webhooks.start()
    await bench.end_a_job(receiver.url, status=500)
    bench.webhooks.look()
    body, headers = await receiver.event(1)
    for secret in (OLD, NEW):
        event: Any = sdk.webhooks.unwrap(body, headers, secret=secret)
        assert event.type == "job.failed"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sdk.webhooks.unwrap(body + b" ", headers)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sdk.webhooks.unwrap(body, headers, secret="whsec_" + base64.b64encode(b"x" * 32).decode())


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_delivery_is_tried_again_later_with_the_same_id(
    bench: Bench, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status] * 2
    await bench.end_a_job(receiver.url)
    bench.webhooks.start()
    await receiver.event(1)
    for number, pause in enumerate(PAUSES[:2], 2):
        bench.webhooks.look()
        bench.clock.now += 1.1 * pause + 16
        bench.webhooks.look()
        await receiver.event(number)
    await bench.until_left(0)
    assert len({headers["webhook-id"] for _, headers in receiver.got}) == 1
    stamps = [int(headers["webhook-timestamp"]) for _, headers in receiver.got]
    assert stamps == sorted(set(stamps))


async def test_delivery_goes_on_after_a_restart(bench: Bench, receiver: Receiver, tmp_path: Path) -> None:
    receiver.statuses = [503]
    await bench.end_a_job(receiver.url)
    bench.webhooks.start()
    await receiver.event(1)
    bench.webhooks.close()
    assert await bench.left() == 1
    again = Bench(tmp_path)
    again.clock.now += 60
    again.webhooks.start()
    await receiver.event(2)
    await again.until_left(0)
    await again.close()


async def test_delivery_does_not_wait_for_a_clock_that_was_set_back(bench: Bench, receiver: Receiver) -> None:
    receiver.statuses = [503]
    await bench.end_a_job(receiver.url)
    bench.webhooks.start()
    await receiver.event(1)
    bench.clock.now -= 3600
    bench.webhooks.look()
    await receiver.event(2)
    await bench.until_left(0)


async def test_delivery_is_given_up_after_its_last_try_or_when_the_receiver_is_gone(
    bench: Bench, receiver: Receiver
) -> None:
    receiver.statuses = [410]
    await bench.end_a_job(receiver.url)
    bench.webhooks.start()
    await bench.until_left(0)
    await bench.end_a_job("http://127.0.0.1:1/")
    with anyio.fail_after(30):
        while await bench.left():
            bench.clock.now += 2 * PAUSES[-1]
            bench.webhooks.look()
            await anyio.sleep(0.01)
    assert len(receiver.got) == 1


async def test_delivery_whose_last_try_was_cut_off_is_given_up(bench: Bench, receiver: Receiver) -> None:
    await bench.end_a_job(receiver.url)
    begun = update(DELIVERIES).values(attempts=len(PAUSES) + 1)
    await bench.database.write(lambda c: c.execute(begun))
    bench.webhooks.start()
    await bench.until_left(0)
    assert receiver.got == []


async def test_delivery_that_cannot_be_put_off_is_not_tried_on_and_on(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.end_a_job(receiver.url)
    await bench.end_a_job("http://127.0.0.1:1/")
    tried = asyncio.Event()
    tries = 0

    async def full(_: object) -> None:
        nonlocal tries
        tries += 1
        tried.set()
        raise StorageFailed("write", "the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(bench.database, "write", full)
        bench.webhooks.start()
        await tried.wait()
        await asyncio.sleep(0.5)
        assert tries == 2
    bench.webhooks.look()
    await receiver.event(1)


async def test_address_that_has_become_a_private_one_gets_nothing(tmp_path: Path, receiver: Receiver) -> None:
    bench = Bench(tmp_path, webhook_networks=[])
    await bench.end_a_job(receiver.url)
    bench.webhooks.start()
    with anyio.fail_after(30):
        while await bench.left():
            bench.clock.now += 2 * PAUSES[-1]
            bench.webhooks.look()
            await anyio.sleep(0.01)
    assert receiver.got == []
    await bench.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/hook", "not a public one"),
        ("http://[::1]/hook", "not a public one"),
        ("http://169.254.169.254/latest", "not a public one"),
        ("http://localhost:8000/hook", "not a public one"),
        ("ftp://a.example/hook", "starts with https://"),
        ("http://me:secret@a.example/", "without a password"),
        ("hook", "starts with https://"),
        ("http://a.invalid/", "not known"),
    ],
)
async def test_address_that_may_not_be_told_is_refused_with_the_call(url: str, words: str) -> None:
    async with gateway(webhook_secrets=[NEW]) as (_, client):
        answer = await client.post(GENERATIONS, json=QUICK, headers=ASYNC | {HEADER: url})
        message = assert_error(answer, 400, type="invalid_request_error", code="invalid_value", param=HEADER)
        assert words in message


async def test_webhook_without_a_job_or_a_secret_is_refused(client: httpx2.AsyncClient) -> None:
    wrong: tuple[tuple[dict[str, str], bool, str], ...] = (
        ({}, False, "respond-async"),
        (ASYNC, True, "not for a stream"),
        (ASYNC, False, "has set no secret"),
    )
    for more, stream, words in wrong:
        headers = {HEADER: "https://a.example/", **more}
        answer = await client.post(GENERATIONS, json=QUICK | {"stream": stream}, headers=headers)
        message = assert_error(answer, 400, type="invalid_request_error", code="invalid_value", param=HEADER)
        assert words in message


@pytest.mark.parametrize("secret", ["whsec_", "whsec_AAAA", "AAAA", "whsec_" + "!" * 40])
def test_secret_that_is_none_stops_the_start(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ and base64"):
        Settings.model_validate({"webhook_secrets": secret})
