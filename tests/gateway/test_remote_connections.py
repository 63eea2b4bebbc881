"""Another server that is slow, streams slowly, breaks, or is left: over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.app import create_app
from gateway.remote_stream import paced
from gateway.remotes import RemoteEntry
from gateway.service import GatewayConfig, Service
from tests.gateway import in_process
from tests.gateway.listening import listening
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

PARTIAL = b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","n":0}\n\n'
COMPLETED = (
    b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":""}\n\n'
)
BODY = {"model": "slow", "prompt": "x"}
PATH = "/v1/images/generations"


class SlowServer:
    """Streams a first event at once and the rest when it is told to; otherwise never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.rest = [COMPLETED]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        streamed = (await request.json()).get("stream")
        self.asked.set()
        if streamed:
            await StreamingResponse(self._events(), media_type="text/event-stream")(scope, receive, send)
            return
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        self.left.set()
        await Response(status_code=499)(scope, receive, send)

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            yield PARTIAL
            await self.go_on.wait()
            for piece in self.rest:
                yield piece
        except asyncio.CancelledError:
            self.left.set()
            raise


@pytest.fixture
def slow() -> SlowServer:
    return SlowServer()


@pytest.fixture
async def service(slow: SlowServer) -> AsyncIterator[Service]:
    made = Service(in_process.no_engine)
    async with listening(slow) as url:
        made.configure(GatewayConfig(remotes=(RemoteEntry(name="slow", base_url=f"{url}/v1", model="m"),)))
        yield made
        await made.close_remotes()
    made.close()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        listening(create_app(service)) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as made,
    ):
        yield made


async def streamed(answer: httpx2.Response) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield line


async def test_an_event_is_passed_on_before_the_next_is_there(
    client: httpx2.AsyncClient, slow: SlowServer
) -> None:
    async with client.stream("POST", PATH, json=BODY | {"stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = streamed(answer)
        assert "partial_image" in await anext(events)
        slow.go_on.set()
        assert '"model":"slow"' in await anext(events)
        assert [event async for event in events] == []


async def test_a_stream_that_breaks_ends_with_an_error_event(
    client: httpx2.AsyncClient, slow: SlowServer
) -> None:
    slow.rest = [b'data: {"type":"error","error":{"message":"out of paint","type":"their_type"}}\n\n']
    slow.go_on.set()
    async with client.stream("POST", PATH, json=BODY | {"stream": True}) as answer:
        events = [event async for event in streamed(answer)]
    assert len(events) == 2
    assert '"message":"out of paint"' in events[1]
    assert '"type":"their_type"' in events[1]


async def test_an_event_that_is_no_json_ends_with_an_error_event(
    client: httpx2.AsyncClient, slow: SlowServer
) -> None:
    slow.rest = [b"data: {oops\n\n"]
    slow.go_on.set()
    async with client.stream("POST", PATH, json=BODY | {"stream": True}) as answer:
        events = [event async for event in streamed(answer)]
    assert '"code":"remote_bad_answer"' in events[1]


async def test_a_reader_that_leaves_a_stream_ends_it_there_too(
    client: httpx2.AsyncClient, slow: SlowServer
) -> None:
    async with client.stream("POST", PATH, json=BODY | {"stream": True}) as answer:
        await anext(streamed(answer))
    async with asyncio.timeout(10):
        await slow.left.wait()


async def test_a_caller_that_leaves_ends_the_call_there_too(service: Service, slow: SlowServer) -> None:
    """Ray Serve cancels the request of a caller that has left; so does this transport."""
    transport = httpx2.ASGITransport(app=create_app(service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        calling = asyncio.create_task(client.post(PATH, json=BODY))
        async with asyncio.timeout(10):
            await slow.asked.wait()
            calling.cancel()
            await slow.left.wait()


async def test_a_server_that_does_not_answer_in_time(service: Service, slow: SlowServer) -> None:
    [entry] = service.models.remotes
    service.configure(GatewayConfig(remotes=(entry.model_copy(update={"timeout_seconds": 0.2}),)))
    transport = httpx2.ASGITransport(app=create_app(service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.post(PATH, json=BODY)
    assert_error(answer, 504, type="server_error", code="remote_timeout", param=None)
    assert slow.asked.is_set()


async def test_a_server_that_is_not_there(service: Service) -> None:
    async with listening(create_app(service)) as gone:
        pass
    [entry] = service.models.remotes
    service.configure(GatewayConfig(remotes=(entry.model_copy(update={"base_url": gone}),)))
    transport = httpx2.ASGITransport(app=create_app(service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.post(PATH, json=BODY)
    assert_error(answer, 503, type="service_unavailable_error", code="remote_unreachable", param=None)
    assert gone.rpartition(":")[2] not in answer.text


async def test_a_stream_that_is_silent_is_kept_alive() -> None:
    go_on = asyncio.Event()

    async def events() -> AsyncIterator[object]:
        yield 1
        await go_on.wait()
        yield 2

    seen = []
    async for item in paced(events(), 0):
        seen.append(item)
        if len(seen) == 4:
            go_on.set()
    assert [item for item in seen if item] == [1, 2]
    assert seen.count(None) >= 2
