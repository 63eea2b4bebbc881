"""Requests under way: told of, ended by their callers, ended by their time, counted against a limit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI

from gateway.admission import DRAWING
from gateway.deadlines import HEADER
from gateway.openapi.failures import DRAWING as DRAWING_FAILURES
from gateway.openapi.operations import OPERATIONS
from gateway.service import Service
from gateway.under_way import UnderWay
from tests.gateway.test_access import allow
from tests.gateway.test_edit_routes import png
from tests.gateway.test_streams import events_of
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

INVALID = "invalid_request_error"
GENERATIONS = "/v1/images/generations"
NATIVE = "/kandinsky-demo/v1/generate"
ENDLESS: dict[str, Any] = {"model": "demo", "prompt": "hills", "num_inference_steps": 1000}
QUICK: dict[str, Any] = {"model": "demo", "prompt": "hills", "num_inference_steps": 1}
NATIVE_ENDLESS = {"prompt": "hills", "num_inference_steps": 1000}
MINE = {"x-request-id": "mine-1"}


async def awake(client: httpx2.AsyncClient) -> None:
    assert (await client.post(GENERATIONS, json=QUICK)).status_code == 200


async def until(client: httpx2.AsyncClient, path: str = "/requests/mine-1", **seen: object) -> dict[str, Any]:
    """The request's row, once it has these values."""
    async with asyncio.timeout(30):
        while True:
            answer = await client.get(path)
            row: dict[str, Any] = answer.json()
            if answer.status_code == 200 and all(row[name] == value for name, value in seen.items()):
                return row
            await asyncio.sleep(0.01)


def begun(client: httpx2.AsyncClient, path: str = GENERATIONS, **more: Any) -> asyncio.Task[httpx2.Response]:
    """A call that does not end by itself."""
    body = NATIVE_ENDLESS if path == NATIVE else ENDLESS
    headers = {**MINE, **more.pop("headers", {})}
    return asyncio.create_task(client.post(path, json=body | more, headers=headers))


@pytest.mark.parametrize("path", [GENERATIONS, NATIVE])
async def test_a_running_request_is_ended_by_its_id(client: httpx2.AsyncClient, path: str) -> None:
    await awake(client)
    call = begun(client, path)
    row = await until(client, state="running")
    assert (row["id"], row["model"], row["position"]) == ("mine-1", "demo", None)
    assert (await client.get("/kandinsky-demo/v1/requests")).json()["data"][0]["id"] == "mine-1"
    stopped = await client.delete("/kandinsky-demo/v1/requests/mine-1")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    answer = await call
    message = assert_error_of(answer, 499, "generation_stopped")
    assert message == "The generation by 'demo' was stopped on request."
    assert answer.headers["x-should-retry"] == "false"
    assert (await client.get("/requests")).json()["data"] == []
    await awake(client)


def assert_error_of(answer: httpx2.Response, status: int, code: str) -> str:
    """Assert that an answer is OpenAI's error object of this status and code, to a request with an id."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    return str(error["message"])


async def test_a_waiting_request_is_ended(client: httpx2.AsyncClient, service: Service) -> None:
    call = begun(client)
    await until(client, state="waiting", model="demo", position=1)
    assert (await client.delete("/requests/mine-1")).status_code == 200
    assert_error_of(await call, 499, "generation_stopped")
    assert service.status("demo").waiting_requests == 0


async def test_a_stream_tells_its_steps_and_that_it_was_ended(client: httpx2.AsyncClient) -> None:
    await awake(client)
    call = begun(client, NATIVE, stream=True)
    async with asyncio.timeout(30):
        while not (await client.get("/requests/mine-1")).json().get("step"):
            await asyncio.sleep(0.01)
    assert (await until(client))["total"] == 1000
    await client.delete("/requests/mine-1")
    name, last = events_of((await call).text)[-1]
    assert (name, last["error"]["code"]) == ("error", "generation_stopped")
    assert "was stopped after step" in last["error"]["message"]


async def test_a_caller_sees_and_ends_its_own_alone(client: httpx2.AsyncClient, service: Service) -> None:
    allow(service, api_keys=("key-a", "key-b"))
    own, other = {"api-key": "key-a"}, {"api-key": "key-b"}
    call = begun(client, headers=own)
    async with asyncio.timeout(30):
        while not (await client.get("/requests", headers=own)).json()["data"]:
            await asyncio.sleep(0.01)
    assert (await client.get("/requests", headers=other)).json() == {"object": "list", "data": []}
    refused = await client.delete("/requests/mine-1", headers=other)
    assert_error(refused, 404, type=INVALID, code="request_not_found", param="request_id")
    assert (await client.delete("/requests/mine-1", headers=own)).status_code == 200
    assert (await call).status_code == 499


@pytest.mark.parametrize("prefix", ["", "/kandinsky-demo/v1"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_request_is_told(client: httpx2.AsyncClient, prefix: str, method: str) -> None:
    answer = await client.request(method, f"{prefix}/requests/nothing")
    assert_error(answer, 404, type=INVALID, code="request_not_found", param="request_id")


async def test_requests_of_an_unknown_model_are_told(client: httpx2.AsyncClient) -> None:
    for path in ("/kandinsky-foo/v1/requests", "/kandinsky-foo/v1/requests/x"):
        assert_error(await client.get(path), 404, type=INVALID, code="model_not_found", param="model")


@pytest.mark.parametrize(
    ("given", "kept"), [("a.B-1", True), ("x" * 129, False), ("a/b", False), ("", False)]
)
async def test_a_client_chooses_an_id_that_can_stand_in_a_path(
    client: httpx2.AsyncClient, given: str, kept: bool
) -> None:
    answered = (await client.get("/health", headers={"x-request-id": given})).headers["x-request-id"]
    assert (answered == given) is kept
    assert kept or answered.startswith("req_")


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (GENERATIONS, {"timeout": 0.2}),
        (NATIVE, {"timeout": 0.2}),
        (GENERATIONS, {"headers": {HEADER: "0.2"}}),
        (NATIVE, {"timeout": 60, "headers": {HEADER: "0.2"}}),
    ],
)
async def test_what_is_not_finished_in_its_time_is_ended(
    client: httpx2.AsyncClient, path: str, more: dict[str, Any]
) -> None:
    await awake(client)
    answer = await begun(client, path, **more)
    message = assert_error_of(answer, 504, "deadline_exceeded")
    assert message == "The request was not finished within 0.2 s: it was drawing."
    assert answer.headers["x-should-retry"] == "false"
    await awake(client)


async def test_waking_counts_and_the_setting_bounds_every_call(
    client: httpx2.AsyncClient, service: Service
) -> None:
    allow(service, max_request_seconds=0.01)
    message = assert_error_of(await begun(client, timeout=60), 504, "deadline_exceeded")
    assert message.endswith("within 0.01 s: it was waiting for the model to be loaded.")


async def test_a_form_has_the_field_too(client: httpx2.AsyncClient) -> None:
    form = {"model": "demo", "prompt": "x", "num_inference_steps": "1000", "timeout": "0.2"}
    answer = await client.post("/v1/images/edits", data=form, files={"image": ("a.png", png(), "image/png")})
    assert_error_of(answer, 504, "deadline_exceeded")
    bad = await client.post("/v1/images/edits", data=form | {"timeout": "soon"}, files={"image": png()})
    assert_error(bad, 400, type=INVALID, code="invalid_type", param="timeout")


async def test_the_deadline_is_a_streams_last_event(client: httpx2.AsyncClient, app: FastAPI) -> None:
    await awake(client)
    call = begun(client, NATIVE, stream=True, timeout=60)
    async with asyncio.timeout(30):
        while not (found := app.state.under_way.of("127.0.0.1")) or not found[0].step:
            await asyncio.sleep(0.01)
    found[0]._until = 0.0  # the clock of a busy machine is no test's
    name, last = events_of((await call).text)[-1]
    assert (name, last["error"]["code"]) == ("error", "deadline_exceeded")
    assert "of 1000 was made" in last["error"]["message"]


@pytest.mark.parametrize("value", [0, -1, "5", True, [1]])
@pytest.mark.parametrize("path", [GENERATIONS, NATIVE])
async def test_a_time_that_is_none_is_refused(client: httpx2.AsyncClient, path: str, value: Any) -> None:
    answer = await begun(client, path, timeout=value)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "timeout"


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", "1_0", ""])
async def test_a_header_that_is_no_time_is_refused(client: httpx2.AsyncClient, value: str) -> None:
    answer = await client.post(GENERATIONS, json=QUICK, headers={HEADER: value})
    assert_error(answer, 400, type=INVALID, code="invalid_value", param=HEADER)


async def test_the_sdk_repeats_neither(client: httpx2.AsyncClient, app: FastAPI) -> None:
    under_way: UnderWay = app.state.under_way
    sdk = AsyncOpenAI(base_url="http://gateway/v1", api_key="none", http_client=client, max_retries=2)
    with pytest.raises(openai.APIStatusError) as late:
        await sdk.images.generate(model="demo", prompt="x", extra_body={"timeout": 0.001})
    assert late.value.status_code == 504
    call = asyncio.create_task(sdk.images.generate(**ENDLESS_SDK))
    async with asyncio.timeout(30):
        while not (found := under_way.of("127.0.0.1")):
            await asyncio.sleep(0.01)
    found[0].stop()
    with pytest.raises(openai.APIStatusError) as stopped:
        await call
    assert stopped.value.code == "generation_stopped"
    assert under_way.of("127.0.0.1") == []


ENDLESS_SDK: dict[str, Any] = {
    "model": "demo",
    "prompt": "x",
    "extra_body": {"num_inference_steps": 1000},
    "extra_headers": MINE,
}


async def test_a_caller_has_no_more_under_way_than_its_limit(
    client: httpx2.AsyncClient, service: Service
) -> None:
    allow(service, max_concurrent_per_key=1, api_keys=("key-a", "key-b"))
    own, other = {"api-key": "key-a"}, {"api-key": "key-b"}
    call = begun(client, headers=own, stream=True)
    async with asyncio.timeout(30):
        while not (await client.get("/requests", headers=own)).json()["data"]:
            await asyncio.sleep(0.01)
    refused = await client.post(NATIVE, json=NATIVE_ENDLESS, headers=own)
    message = assert_error(refused, 429, type="rate_limit_error", code="rate_limit_exceeded", param=None)
    assert message.startswith("Rate limit reached: 1 of your requests are under way")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-limit-requests"] == "1"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
    await client.delete("/requests/mine-1", headers=own)
    await call
    passed = await client.post(GENERATIONS, json=QUICK, headers=other)
    assert passed.status_code == 200
    assert passed.headers["x-ratelimit-remaining-requests"] == "0"
    assert (await client.post(GENERATIONS, json=QUICK, headers=own)).status_code == 200


async def test_without_a_limit_nothing_is_said_of_one(client: httpx2.AsyncClient) -> None:
    answer = await client.post(GENERATIONS, json={"prompt": ""})
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize("path", [NATIVE, "/openai/deployments/demo/images/generations"])
async def test_a_full_line_refuses_before_the_body_is_read(
    client: httpx2.AsyncClient, service: Service, path: str
) -> None:
    service.served("demo").line.limit = 0
    taken = 0

    async def upload() -> AsyncIterator[bytes]:
        nonlocal taken
        for piece in (b'{"prompt": "', b"x" * 100, b'"}'):
            taken += 1
            yield piece

    answer = await client.post(path, content=upload(), headers={"content-type": "application/json"})
    kind = "service_unavailable_error"
    assert_error(answer, 503, type=kind, code="server_is_overloaded", param=None)
    assert service.status("demo").state == "asleep"


def test_every_route_that_draws_is_admitted() -> None:
    for (method, path), described in OPERATIONS.items():
        draws = method == "post" and set(DRAWING_FAILURES) <= set(described.failures)
        concrete = path.replace("{model}", "demo")
        assert (method == "post" and DRAWING.fullmatch(concrete) is not None) is draws, path


async def test_of_two_that_share_a_drawing_one_can_leave(client: httpx2.AsyncClient) -> None:
    key = {"idempotency-key": "shared"}
    first = begun(client, headers=key)
    await until(client, model="demo")
    second = begun(client, headers=key | {"x-request-id": "mine-2"})
    await until(client, "/requests/mine-2")
    await client.delete("/requests/mine-2")
    assert_error_of(await second, 499, "generation_stopped")
    assert not first.done()
    await client.delete("/requests/mine-1")
    assert_error_of(await first, 499, "generation_stopped")


async def test_rows_say_what_is_left_of_the_time(client: httpx2.AsyncClient) -> None:
    call = begun(client, timeout=50)
    row = await until(client, model="demo")
    assert 0 < row["remaining_seconds"] <= 50
    assert json.dumps(row)
    await client.delete("/requests/mine-1")
    await call
