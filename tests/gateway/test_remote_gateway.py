"""Two real gateways on real sockets: this one passes on to one that draws with the demo model."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator

import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from PIL import Image

from gateway.app import create_app
from gateway.remotes import RemoteEntry, RemoteKey
from gateway.service import GatewayConfig, Service
from gateway.settings import Settings
from tests.gateway import in_process
from tests.gateway.conftest import demo_config
from tests.gateway.listening import listening
from tests.gateway.wire import assert_error, picture

pytestmark = pytest.mark.anyio

KEY = "key-of-the-far-gateway"
VARIABLE = "FAR_GATEWAY_KEY"
QUICK = {"num_inference_steps": 2, "seed": 5}


@pytest.fixture
async def far() -> AsyncIterator[str]:
    """The address of a gateway that asks for a key."""
    settings = Settings.model_validate({"api_keys": [KEY]})
    service = in_process.service(demo_config().model_copy(update={"settings": settings}))
    async with listening(create_app(service)) as url:
        yield url
    service.close()


@pytest.fixture
async def near(far: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of the gateway that has the other one's model as ``far``."""
    monkeypatch.setenv(VARIABLE, KEY)
    key = RemoteKey(variable=VARIABLE)
    entry = RemoteEntry(name="far", base_url=f"{far}/v1", model="demo", key=key, timeout_seconds=60)
    service = Service(in_process.no_engine)
    service.configure(GatewayConfig(remotes=(entry,)))
    async with listening(create_app(service)) as url:
        yield url
    await service.close_remotes()
    service.close()


@pytest.fixture
async def sdk(near: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{near}/v1", api_key="callers", max_retries=0) as made:
        yield made


@pytest.fixture
async def client(near: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=near, timeout=60) as made:
        yield made


def png(size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (30, 90, 160)).save(buffer, "PNG")
    return buffer.getvalue()


async def test_a_picture_comes_from_the_other_gateway(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.generate(
        model="far", prompt="the sea", n=2, response_format="b64_json", extra_body=QUICK
    )
    pictures = [picture(image.b64_json or "") for image in answer.data or []]
    assert [image.size for image in pictures] == [(128, 128)] * 2
    extra = answer.model_extra or {}
    assert extra["model"] == "far"
    assert extra["parameters"]["num_inference_steps"] == 2
    assert extra["compute_metrics"]["steps"] == 4
    assert answer.usage is not None


async def test_the_same_seed_draws_the_same_picture_on_either_way(sdk: AsyncOpenAI, far: str) -> None:
    there = AsyncOpenAI(base_url=f"{far}/v1", api_key=KEY)
    answers = [
        await way.images.generate(model=name, prompt="hills", response_format="b64_json", extra_body=QUICK)
        for way, name in ((sdk, "far"), (there, "demo"))
    ]
    await there.close()
    passed, direct = ((answer.data or [])[0].b64_json for answer in answers)
    assert passed == direct


async def test_files_of_an_edit_are_sent_on(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.edit(
        model="far", image=[png()], prompt="the sea", response_format="b64_json", extra_body=QUICK
    )
    assert picture((answer.data or [])[0].b64_json or "")


async def test_an_edit_as_json_is_sent_on(client: httpx2.AsyncClient) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    body = {"model": "far", "prompt": "the sea", "images": [{"image_url": uri}]} | QUICK
    answer = await client.post("/v1/images/edits", json=body)
    assert answer.status_code == 200, answer.text


async def test_a_stream_is_passed_on_with_its_previews(sdk: AsyncOpenAI) -> None:
    stream = await sdk.images.generate(
        model="far", prompt="hills", stream=True, partial_images=2, extra_body={"num_inference_steps": 6}
    )
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        *["image_generation.partial_image"] * 2,
        "image_generation.completed",
    ]
    assert (events[-1].model_extra or {})["model"] == "far"
    assert picture(events[-1].b64_json).size == (128, 128)


async def test_a_refusal_of_the_other_gateway_reads_as_its_own(sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.images.generate(model="far", prompt="hills", extra_body={"num_infrence_steps": 3})
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", "num_infrence_steps")
    assert caught.value.request_id is not None


async def test_a_wrong_key_is_not_the_callers_401(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "wrong")
    answer = await client.post("/v1/images/generations", json={"model": "far", "prompt": "x"})
    assert_error(answer, 502, type="server_error", code="remote_key_refused", param=None)


async def test_the_native_schema_is_the_other_gateways(client: httpx2.AsyncClient) -> None:
    answer = (await client.get("/kandinsky-far/v1/schema")).json()
    assert answer["model_id"] == "far"
    assert "num_inference_steps" in answer["json_schema"]["properties"]


async def test_a_native_call_is_polled_here_while_the_other_gateways_model_loads(
    client: httpx2.AsyncClient,
) -> None:
    first = await client.post("/kandinsky-far/v1/generate", json={"prompt": "hills"} | QUICK)
    assert first.status_code == 202
    assert first.json()["poll_url"] == "/kandinsky-far/v1/health" == first.headers["location"]
    assert 1 <= int(first.headers["retry-after"]) <= 60
    async with asyncio.timeout(60):
        while (await client.get(first.json()["poll_url"])).json()["state"] != "ready":
            pass
    answer = (await client.post("/generate", json={"model": "far", "prompt": "hills"} | QUICK)).json()
    assert answer["model"] == "far"
    assert picture(answer["image"]).size == (128, 128)


async def test_a_native_stream_is_passed_on(client: httpx2.AsyncClient) -> None:
    body = {"prompt": "hills", "stream": True} | QUICK
    async with client.stream("POST", "/kandinsky-far/v1/generate", json=body) as answer:
        lines = [line async for line in answer.aiter_lines()]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names[-1] == "completed"
    assert "progress" in names
