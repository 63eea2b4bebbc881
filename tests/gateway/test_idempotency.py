"""Requests with a key: sent again, they are answered as they were and drawn once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from openai import AsyncOpenAI
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response, StreamingResponse

from compat import events
from compat.errors import AnswerLost
from engines.errors import EngineBusy, InvalidParameter
from gateway.answers import json_answer
from gateway.kept_answers import Keyed
from gateway.tables import ANSWERS, LEASES
from tests.gateway.later import ASYNC, ENDLESS, GENERATIONS, NATIVE, QUICK, gateway, reached
from tests.gateway.test_edit_routes import png
from tests.gateway.test_streams import events_of
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

KEY = {"idempotency-key": "a key"}
UNSEEDED: dict[str, Any] = {"prompt": "hills", "num_inference_steps": 4}
REPLAYED = "idempotent-replayed"
KNOWN = Keyed("digest", "fingerprint")


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway() as (service, made):
        await service.served("demo").wake_unless_ready()
        yield made


async def awake(client: httpx2.AsyncClient) -> None:
    """Wake the model."""
    assert (await client.post(GENERATIONS, json=QUICK)).status_code == 200


@pytest.mark.parametrize("path", [GENERATIONS, NATIVE, "/generate"])
async def test_repeated_request_gets_the_same_answer(client: httpx2.AsyncClient, path: str) -> None:
    await awake(client)
    first, second = [await client.post(path, json=UNSEEDED, headers=KEY) for _ in range(2)]
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert (REPLAYED in first.headers, second.headers[REPLAYED]) == (False, "true")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    other = await client.post(path, json=UNSEEDED, headers={"idempotency-key": "another"})
    assert other.content != first.content


async def test_requests_at_once_are_drawn_once(client: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(GENERATIONS, json=UNSEEDED, headers=KEY) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1
    # Which of them is the first is open: each is looked through in a thread.
    assert sorted(REPLAYED in answer.headers for answer in answers) == [False, True, True]


async def test_another_request_at_once_with_the_same_key_is_refused(client: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(client.post(GENERATIONS, json=UNSEEDED, headers={**KEY, **more}) for more in ({}, {"prefer": "x"}))
    )
    drawn, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert drawn.status_code == 200
    assert_error(refused, 422, type="invalid_request_error", code="idempotency_key_reused", param=None)


async def test_key_with_another_request_is_refused(client: httpx2.AsyncClient) -> None:
    form = {"prompt": "x", "num_inference_steps": "2"}
    for colour, status in (("red", 200), ("red", 200), ("blue", 422)):
        parts = {"image": ("a.png", png(colour=colour))}
        answer = await client.post("/v1/images/edits", data=form, files=parts, headers=KEY)
        assert answer.status_code == status
    # The key of another route, or of another caller, is another key.
    assert (await client.post(GENERATIONS, json=QUICK, headers=KEY)).status_code == 200


async def test_keys_belong_to_callers() -> None:
    async with gateway(api_keys=["one", "two"]) as (_, client):
        answers = [
            await client.post(GENERATIONS, json=UNSEEDED, headers={**KEY, "authorization": f"Bearer {key}"})
            for key in ("one", "two", "one")
        ]
    assert answers[0].content == answers[2].content != answers[1].content


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_key_that_cannot_be_one_is_refused(client: httpx2.AsyncClient, key: str) -> None:
    answer = await client.post(GENERATIONS, json=QUICK, headers={"idempotency-key": key})
    assert_error(answer, 400, type="invalid_request_error", code="invalid_value", param="idempotency-key")


async def test_drawing_goes_on_when_the_client_has_left(client: httpx2.AsyncClient) -> None:
    await awake(client)
    for stream in (False, True):
        body = UNSEEDED | {"num_inference_steps": 20, "stream": stream}
        headers = {"idempotency-key": f"left {stream}"}
        left = asyncio.create_task(client.post(NATIVE, json=body, headers=headers))
        with anyio.fail_after(30):
            while not (await client.get("/health?model=demo")).json()["active_requests"]:
                await anyio.sleep(0.005)
        left.cancel()
        await asyncio.wait([left])
        assert (await client.get("/health?model=demo")).json()["active_requests"] == 1
        again = await client.post(NATIVE, json=body, headers=headers)
        assert (again.status_code, again.headers[REPLAYED]) == (200, "true")


async def test_stream_is_repeated_event_by_event(client: httpx2.AsyncClient) -> None:
    body = UNSEEDED | {"stream": True, "partial_images": 1}
    joined = await asyncio.gather(*(client.post(GENERATIONS, json=body, headers=KEY) for _ in range(2)))
    stored = await client.post(GENERATIONS, json=body, headers=KEY)
    assert len({answer.content for answer in (*joined, stored)}) == 1
    assert stored.headers["content-type"].startswith("text/event-stream")
    assert stored.headers[REPLAYED] == "true"
    assert events_of(stored.text)[-1][0] == "image_generation.completed"


async def test_job_is_taken_on_once(client: httpx2.AsyncClient) -> None:
    first, second = [await client.post(GENERATIONS, json=UNSEEDED, headers=KEY | ASYNC) for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]
    await reached(client, first.json())
    assert len((await client.get("/v1/jobs")).json()["data"]) == 1


async def test_answer_outlives_the_gateway(tmp_path: Path) -> None:
    answers = []
    for _ in range(2):
        async with gateway(tmp_path) as (_, client):
            answers.append(await client.post(GENERATIONS, json=UNSEEDED, headers=KEY))
    assert answers[0].content == answers[1].content
    assert answers[1].headers[REPLAYED] == "true"


async def test_two_gateways_work_on_a_request_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (_, one), gateway(tmp_path) as (_, other):
        here, there = await asyncio.gather(
            *(client.post(GENERATIONS, json=UNSEEDED, headers=KEY) for client in (one, other))
        )
    assert here.content == there.content
    assert (REPLAYED in here.headers) != (REPLAYED in there.headers)


async def test_202_of_a_sleeping_model_is_not_stored() -> None:
    async with gateway() as (_, client):
        assert (await client.post(NATIVE, json=QUICK, headers=KEY)).status_code == 202
        await awake(client)
        answer = await client.post(NATIVE, json=QUICK, headers=KEY)
        assert (answer.status_code, REPLAYED in answer.headers) == (200, False)


async def test_refusal_is_stored_and_what_a_repetition_cures_is_not() -> None:
    tries: list[Exception | None] = [EngineBusy("demo", 1, 1.0), ValueError("odd"), None]

    async def produce() -> Response:
        if (error := tries.pop(0)) is not None:
            raise error
        return json_answer({"good": True})

    async with gateway() as (service, _):
        answer = service.idempotency.answer
        with pytest.raises(EngineBusy):
            await answer(KNOWN, produce)
        with pytest.raises(ValueError, match="odd"):
            await answer(KNOWN, produce)
        assert json.loads(bytes((await answer(KNOWN, produce)).body)) == {"good": True}
        assert (await answer(KNOWN, produce)).headers[REPLAYED] == "true"

        async def refuse() -> Response:
            raise InvalidParameter("n", "too many")

        other = Keyed("other", "fingerprint")
        with pytest.raises(InvalidParameter):
            await answer(other, refuse)
        assert (await answer(other, produce)).status_code == 400


async def test_stream_that_ends_with_an_error_is_not_stored() -> None:
    async def produce() -> Response:
        async def frames() -> AsyncIterator[bytes]:
            yield b"event: progress\ndata: {}\n\n"
            yield events.failed(EngineBusy("demo", 1, 1.0), request_id="req_1")

        return StreamingResponse(frames(), media_type="text/event-stream")

    async with gateway() as (service, _):
        for _ in range(2):
            answer = await service.idempotency.answer(KNOWN, produce)
            assert isinstance(answer, StreamingResponse)
            assert len([chunk async for chunk in answer.body_iterator]) == 2
            assert REPLAYED not in answer.headers


@pytest.mark.parametrize("ending", ["closed", "given up"])
async def test_readers_of_an_answer_that_is_dropped_are_told(ending: str) -> None:
    began, left = asyncio.Event(), asyncio.Event()

    async def produce() -> Response:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            left.set()
        raise AssertionError("unreachable: nothing ends that sleep")

    async with gateway() as (service, _):
        keeping = service._keeping
        readers = [asyncio.create_task(service.idempotency.answer(KNOWN, produce)) for _ in range(2)]
        with anyio.fail_after(30):
            await began.wait()
            if ending == "closed":
                service.idempotency.close()
            else:
                await keeping._database.write(lambda c: c.execute(delete(LEASES)))
                await keeping._lease.beat()
            told = await asyncio.gather(*readers, return_exceptions=True)
            assert [type(each) for each in told] == [AnswerLost] * 2
            await left.wait()


async def test_stream_that_is_dropped_ends_with_an_error() -> None:
    async def produce() -> Response:
        async def frames() -> AsyncIterator[bytes]:
            yield b"event: progress\ndata: {}\n\n"
            await anyio.sleep_forever()

        return StreamingResponse(frames(), media_type="text/event-stream")

    async with gateway() as (service, _):
        answer = await service.idempotency.answer(KNOWN, produce)
        assert isinstance(answer, StreamingResponse)
        chunks: list[str] = []
        async for chunk in answer.body_iterator:
            chunks.append(bytes(chunk).decode() if not isinstance(chunk, str) else chunk)
            service.idempotency.close()
        name, last = events_of("".join(chunks))[-1]
        assert (name, last["error"]["code"]) == ("error", "engine_unavailable")


async def test_who_waits_for_another_gateway_takes_over_under_the_name_it_has_then() -> None:
    async def owner(connection: AsyncConnection) -> str | None:
        return await connection.scalar(select(ANSWERS.c.owner))

    async with gateway() as (service, _):
        database, lease = service._keeping._database, service._keeping._lease

        async def produce() -> Response:
            return json_answer({"owner": await database.read(owner)})

        making = {"digest": KNOWN.digest, "fingerprint": KNOWN.fingerprint, "owner": "other"}
        await database.write(lambda c: c.execute(insert(LEASES).values(id="other", beat=0)))
        await database.write(lambda c: c.execute(insert(ANSWERS).values(**making, expires_at=2**40)))
        answer = asyncio.create_task(service.idempotency.answer(KNOWN, produce))
        with anyio.fail_after(30):
            while not lease.held:
                await anyio.sleep(0)
            before = lease.owner
            await database.write(lambda c: c.execute(delete(LEASES).where(LEASES.c.id == before)))
            await lease.beat()
            await database.write(lambda c: c.execute(delete(LEASES).where(LEASES.c.id == "other")))
            assert json.loads(bytes((await answer).body)) == {"owner": lease.owner}
        assert lease.owner != before


async def test_drawing_that_goes_on_counts_among_its_callers_calls() -> None:
    async with gateway(max_concurrent_per_key=1) as (service, client):
        await service.served("demo").warm(wait_seconds=60)
        mine = KEY | {"x-request-id": "mine"}
        left = asyncio.create_task(client.post(GENERATIONS, json=ENDLESS, headers=mine))
        with anyio.fail_after(30):
            while not (await client.get("/health?model=demo")).json()["active_requests"]:
                await anyio.sleep(0.005)
            left.cancel()
            await asyncio.wait([left])
            refused = await client.post(GENERATIONS, json=QUICK)
            assert_error(refused, 429, type="rate_limit_error", code="rate_limit_exceeded", param=None)
            assert (await client.delete("/requests/mine")).status_code == 200
            while (await client.get("/requests")).json()["data"]:
                await anyio.sleep(0.005)
        assert (await client.post(GENERATIONS, json=QUICK)).status_code == 200


async def test_sdk_sends_the_key_that_it_is_given_and_none_of_its_own() -> None:
    asked: list[httpx2.Request] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(500, headers={"retry-after-ms": "1"}, json={"error": {"message": "no"}})

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(refuse))
    async with AsyncOpenAI(
        base_url="http://gateway/v1", api_key="none", http_client=http_client, max_retries=1
    ) as sdk:
        for headers in ({}, {"Idempotency-Key": "mine"}):
            with pytest.raises(Exception, match="no"):
                await sdk.images.generate(prompt="x", extra_headers=headers)
    assert [request.headers.get("idempotency-key") for request in asked] == [None, None, "mine", "mine"]
