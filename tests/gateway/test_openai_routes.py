"""OpenAI's routes, driven by the openai SDK over HTTP in this process, the demo model really drawing."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from gateway.service import Service
from tests.gateway.wire import brightness, first_picture, picture

pytestmark = pytest.mark.anyio

QUICK = {"num_inference_steps": 2, "seed": 5}


@pytest.fixture
async def sdk(client: httpx2.AsyncClient) -> AsyncOpenAI:
    return AsyncOpenAI(base_url="http://gateway/v1", api_key="none", http_client=client, max_retries=0)


async def test_sleeping_model_holds_the_call(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.generate(model="demo", prompt="the sea", extra_body=QUICK)
    assert answer.data is not None
    assert picture(answer.data[0].b64_json or "").size == (128, 128)


async def test_call_held_too_long_gets_503_with_retry_after(
    client: httpx2.AsyncClient, service: Service
) -> None:
    service.settings = service.settings.model_copy(update={"hold_seconds": 0.0})
    answer = await client.post("/v1/images/generations", json={"prompt": "x", "model": "demo"})
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "service_unavailable_error"
    assert answer.json()["error"]["code"] == "model_loading"
    assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_answer_carries_what_was_used_ignored_and_spent(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.generate(
        model="dall-e-3", prompt="hills", n=2, user="me", moderation="low", extra_body=QUICK
    )
    extra = answer.model_extra or {}
    assert extra["model"] == "demo"
    assert [image.model_extra["seed"] for image in answer.data or [] if image.model_extra] == [5, 6]
    assert extra["parameters"]["num_inference_steps"] == 2
    assert "moderation" in [entry["field"] for entry in extra["ignored"]]
    assert extra["compute_metrics"]["steps"] == 4
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.text_tokens > 0
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


async def test_size_beyond_the_models_own_is_resampled_and_told(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.generate(model="demo", prompt="hills", size="1024x1024", extra_body=QUICK)
    assert picture((answer.data or [])[0].b64_json or "").size == (1024, 1024)
    assert answer.size == "1024x1024"
    assert "size" in [entry["field"] for entry in (answer.model_extra or {})["adjusted"]]


@pytest.mark.parametrize(("word", "format"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
async def test_output_format_is_honoured(client: httpx2.AsyncClient, word: str, format: str) -> None:
    body = {"model": "demo", "prompt": "hills", "output_format": word} | QUICK
    answer = await client.post("/v1/images/generations", json=body)
    assert first_picture(answer.json()).format == format


async def test_quality_changes_the_steps(sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.generate(model="demo", prompt="hills", quality="low", extra_body={"seed": 1})
    assert answer.quality == "low"
    assert (answer.model_extra or {})["parameters"]["num_inference_steps"] == 10


async def test_night_is_darker_than_day(sdk: AsyncOpenAI) -> None:
    skies = [
        await sdk.images.generate(model="demo", prompt=f"mountains {when}", extra_body={"seed": 3})
        for when in ("at night", "by day")
    ]
    night, day = (brightness(picture((sky.data or [])[0].b64_json or "")) for sky in skies)
    assert night < 80 < 110 < day


async def test_explicit_nulls_are_omissions(client: httpx2.AsyncClient) -> None:
    nulls: dict[str, object] = dict.fromkeys(
        ("model", "n", "size", "quality", "output_compression", "stream")
    )
    answer = await client.post("/v1/images/generations", json=nulls | {"prompt": "hills"} | QUICK)
    assert answer.status_code == 200


async def test_models_are_listed_under_every_name(sdk: AsyncOpenAI) -> None:
    names = [model.id async for model in sdk.models.list()]
    assert names == ["demo", "dall-e-3"]


async def test_model_id_may_be_percent_encoded(service: Service, client: httpx2.AsyncClient) -> None:
    entry = next(iter(service.models)).model_copy(update={"aliases": ("org/some model",)})
    service.models = type(service.models)([entry])
    answer = await client.get("/v1/models/org%2Fsome%20model")
    assert answer.status_code == 200
    assert answer.json()["id"] == "org/some model"
    assert answer.json()["root"] == "demo"


async def test_unknown_model_is_not_found_on_the_model_route(sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.models.retrieve("gpt-image-1")
    assert caught.value.code == "model_not_found"
    assert "demo" in str(caught.value.body)


async def test_request_id_reaches_the_sdk(sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.images.generate(model="demo", prompt="")
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")


async def test_openai_call_survives_losing_its_engine(service: Service, sdk: AsyncOpenAI) -> None:
    """The first engine dies under the call; the second draws the picture that the first was to draw."""
    from engines.calls import EngineCall, EngineResult
    from engines.errors import EngineLost

    engine = service.served("demo").engine
    draw, seeds = engine.generate, []

    async def dying(call: EngineCall) -> EngineResult:
        seeds.append(call.seed)
        if len(seeds) == 1:
            raise EngineLost("demo")
        return await draw(replace(call))

    engine.generate = dying  # type: ignore[method-assign]  # the death of a process, at the border to it
    answer = await sdk.images.generate(model="demo", prompt="hills", extra_body={"num_inference_steps": 2})
    assert answer.data
    assert len(seeds) == 2
    assert seeds[0] == seeds[1] is not None
