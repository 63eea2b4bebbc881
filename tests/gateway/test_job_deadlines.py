"""How long drawing a job may take: by its body, by its head, by the settings; here and at another server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest

from gateway.app import create_app
from gateway.deadlines import HEADER
from gateway.remotes import RemoteEntry
from gateway.service import GatewayConfig, Service
from gateway.settings import Settings
from tests.gateway import in_process
from tests.gateway.elsewhere import Elsewhere
from tests.gateway.later import ASYNC, ENDLESS, GENERATIONS, NATIVE, gateway, reached, submitted
from tests.gateway.test_edit_routes import png

pytestmark = pytest.mark.anyio

FAR_NATIVE = "/kandinsky-far/v1/generate"
CALL: dict[str, Any] = {"model": "far", "prompt": "the sea"}
BODIES = {GENERATIONS: CALL, FAR_NATIVE: {"prompt": "the sea"}}
FAR = RemoteEntry(name="far", base_url="http://images.internal/v1", model="theirs")


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


async def silent(request: httpx2.Request) -> httpx2.Response:
    """A gateway of this kind that never ends a drawing."""
    if request.method == "POST":
        await anyio.sleep_forever()
    return httpx2.Response(200, json={"json_schema": {}})


@pytest.fixture
async def service(elsewhere: Elsewhere) -> AsyncIterator[Service]:
    made = Service(in_process.no_engine, elsewhere.reach)
    made.configure(GatewayConfig(remotes=(FAR,)))
    yield made
    await made.close_remotes()
    made.close()
    await made._keeping.settled()


@pytest.mark.parametrize("path", [GENERATIONS, FAR_NATIVE])
@pytest.mark.parametrize(
    ("more", "headers"),
    [({"timeout": 0.05}, {}), ({}, {HEADER: "0.05"}), ({"timeout": 60}, {HEADER: "0.05"})],
)
async def test_another_servers_silence_fails_the_job(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, path: str, more: dict[str, Any], headers: dict[str, str]
) -> None:
    elsewhere.respond = silent  # type: ignore[assignment]  # the transport awaits what is awaitable
    job = await reached(client, await submitted(client, BODIES[path] | more, path, **headers))
    assert (job["status"], job["error"]["code"]) == ("failed", "deadline_exceeded")
    assert job["error"]["message"] == "The request was not finished within 0.05 s: it was drawing."
    assert "timeout" not in json.loads(elsewhere.asked[-1].content)


async def test_another_servers_job_has_a_time_that_is_one(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    for path, body in BODIES.items():
        refused = await client.post(path, json=body | {"timeout": 0}, headers=ASYNC)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "timeout")
    form = {**CALL, "timeout": "60"}
    files = {"image": ("a.png", png(), "image/png")}
    answer = await client.post("/v1/images/edits", data=form, files=files, headers=ASYNC)
    assert (await reached(client, answer.json()))["status"] == "completed"
    assert b"timeout" not in elsewhere.asked[0].content


async def test_the_setting_bounds_another_servers_jobs(elsewhere: Elsewhere, service: Service) -> None:
    service.configure(GatewayConfig(remotes=(FAR,), settings=Settings(max_request_seconds=0.05)))
    elsewhere.respond = silent  # type: ignore[assignment]  # the transport awaits what is awaitable
    transport = httpx2.ASGITransport(app=create_app(service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        for path, body in BODIES.items():
            job = await reached(client, await submitted(client, body | {"timeout": 60}, path))
            assert (job["status"], job["error"]["code"]) == ("failed", "deadline_exceeded")


@pytest.mark.parametrize("path", [GENERATIONS, NATIVE])
async def test_the_setting_bounds_jobs(path: str) -> None:
    async with gateway(max_request_seconds=0.2) as (_, client):
        job = await reached(client, await submitted(client, ENDLESS | {"timeout": 60}, path))
        assert (job["status"], job["error"]["code"]) == ("failed", "deadline_exceeded")
