"""Edits and variations by the openai SDK and by hand, the demo model really drawing."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from PIL import Image

from gateway.service import Service
from tests.gateway.wire import assert_error, picture

pytestmark = pytest.mark.anyio

QUICK: dict[str, Any] = {"num_inference_steps": 4, "seed": 5}
EDITS = "/v1/images/edits"


@pytest.fixture
async def sdk(client: httpx2.AsyncClient) -> AsyncOpenAI:
    return AsyncOpenAI(base_url="http://gateway/v1", api_key="none", http_client=client, max_retries=0)


def png(width: int = 128, height: int = 128, *, colour: str = "steelblue", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def mask(width: int = 128, height: int = 128) -> bytes:
    """Opaque, but for the lower half."""
    image = Image.new("RGBA", (width, height), "black")
    image.paste((0, 0, 0, 0), (0, image.height // 2, image.width, image.height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


async def test_edit_is_as_large_as_its_picture(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.edit(
        model="demo", image=("a.png", png(300, 200)), prompt="the sea at night", extra_body=QUICK
    )
    assert picture((answer.data or [])[0].b64_json or "").size == (300, 200)
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.image_tokens == 19 * 13
    assert (answer.model_extra or {})["parameters"]["strength"] == 0.7


async def test_json_edit_and_form_edit_draw_the_same(sdk: AsyncOpenAI, client: httpx2.AsyncClient) -> None:
    form = await sdk.images.edit(model="demo", image=[png()], prompt="the sea", extra_body=QUICK)
    body = {"model": "demo", "prompt": "the sea", "images": [{"image_url": uri(png())}], **QUICK}
    json = (await client.post(EDITS, json=body)).json()
    assert json["data"][0]["b64_json"] == (form.data or [])[0].b64_json


async def test_fidelity_decides_how_much_changes(sdk: AsyncOpenAI) -> None:
    async def strength(**fields: Any) -> float:
        answer = await sdk.images.edit(model="demo", image=png(), prompt="x", extra_body=QUICK, **fields)
        return float((answer.model_extra or {})["parameters"]["strength"])

    assert (await strength(input_fidelity="high"), await strength(input_fidelity="low")) == (0.35, 0.7)


async def test_several_pictures_are_refused_where_the_model_takes_one(sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await sdk.images.edit(model="demo", image=[png(), png()], prompt="x")
    assert (raised.value.param, raised.value.code) == ("image", "invalid_value")


async def test_masks_transparent_part_alone_is_repainted(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.edit(
        model="demo", image=png(), mask=mask(), prompt="a desert at noon", extra_body=QUICK
    )
    drawn = picture((answer.data or [])[0].b64_json or "")
    before = picture(base64.b64encode(png()).decode())
    assert drawn.crop((0, 0, 128, 64)).tobytes() == before.crop((0, 0, 128, 64)).tobytes()
    assert drawn.crop((0, 70, 128, 128)).tobytes() != before.crop((0, 70, 128, 128)).tobytes()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(), "mask image missing alpha channel"),
        (mask(64, 64), "mask size does not match image size"),
        (png(mode="RGBA", colour="black"), "no transparent area"),
    ],
)
async def test_mask_that_says_nothing_is_refused(client: httpx2.AsyncClient, data: bytes, words: str) -> None:
    files = {"image": png(), "mask": data}
    answer = await client.post(EDITS, data={"prompt": "x", "model": "demo"}, files=files)
    kind = "image_generation_user_error"
    assert words in assert_error(answer, 400, type=kind, code="invalid_mask_image_format", param="mask")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's own, of a retired route
async def test_variation_has_the_size_asked_for(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.create_variation(
        model="demo", image=png(), size="256x256", response_format="b64_json", extra_body=QUICK
    )
    assert picture((answer.data or [])[0].b64_json or "").size == (256, 256)


async def test_bad_picture_wakes_no_model(client: httpx2.AsyncClient, service: Service) -> None:
    answer = await client.post(
        EDITS, data={"prompt": "x", "model": "demo"}, files={"image": b"<html>no picture</html>"}
    )
    code = "unsupported_file_mimetype"
    message = assert_error(answer, 400, type="invalid_request_error", code=code, param="image")
    assert "'text/html'" in message
    assert service.status("demo").state == "asleep"


async def test_address_is_not_fetched_unless_the_server_says_so(client: httpx2.AsyncClient) -> None:
    body = {"prompt": "x", "model": "demo", "images": [{"image_url": "http://127.0.0.1/a.png"}]}
    answer = await client.post(EDITS, json=body)
    kind = "image_generation_user_error"
    assert "not fetched" in assert_error(answer, 400, type=kind, code="invalid_value", param="image")


async def test_generation_may_come_as_a_form(client: httpx2.AsyncClient) -> None:
    parts = {"prompt": "x", "model": "demo", "n": "2", "num_inference_steps": "2", "seed": "5"}
    answer = await client.post("/v1/images/generations", files={name: (None, v) for name, v in parts.items()})
    assert [image["seed"] for image in answer.json()["data"]] == [5, 6]


async def test_azures_client_draws_and_edits(client: httpx2.AsyncClient) -> None:
    azure = AsyncAzureOpenAI(
        azure_endpoint="http://gateway", api_key="k", api_version="2025-04-01-preview", http_client=client
    )
    drawn = await azure.images.generate(model="demo", prompt="hills", extra_body=QUICK)
    edited = await azure.images.edit(model="demo", image=png(), prompt="hills", extra_body=QUICK)
    assert all((answer.data or [])[0].b64_json for answer in (drawn, edited))


async def test_gif_is_the_way_to_the_picture(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.generate(
        model="demo", prompt="x", output_format="gif", extra_body=QUICK | {"frame_count": 3}
    )
    image = Image.open(io.BytesIO(base64.b64decode((answer.data or [])[0].b64_json or "")))
    assert (image.format, getattr(image, "n_frames", 1)) == ("GIF", 3)
