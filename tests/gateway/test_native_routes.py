"""The native routes, over HTTP in this process, with the demo model really drawing."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from jsonschema import Draft202012Validator

from gateway.service import Service
from tests.gateway.wire import assert_error, picture

pytestmark = pytest.mark.anyio

GENERATE = "/kandinsky-demo/v1/generate"
QUICK = {"prompt": "the sea at sunset", "num_inference_steps": 2, "seed": 5}


async def test_schema_answers_while_the_model_sleeps(client: httpx2.AsyncClient) -> None:
    body = (await client.get("/kandinsky-demo/v1/schema")).json()
    assert body["model_id"] == "demo"
    assert body["pipeline_class"] == "Kandinsky3Pipeline"
    assert "text-to-image" in body["capabilities"]
    assert body["inputs"]["required"] == ["prompt"]
    assert "negative_prompt" in body["inputs"]["optional"]
    prompt = body["methods"]["__call__"]["parameters"]["prompt"]
    assert {"name", "required", "default", "annotation"} <= set(prompt)
    assert prompt["required"] is True
    assert body["defaults"] == {
        "num_inference_steps": 20,
        "guidance_scale": 2.0,
        "width": 128,
        "height": 128,
    }


async def test_schema_describes_its_own_requests(client: httpx2.AsyncClient) -> None:
    body = (await client.get("/schema")).json()
    validator = Draft202012Validator(body["json_schema"])
    assert validator.is_valid(QUICK)
    assert not validator.is_valid({"prompt": "x", "num_inference_steps": "many"})
    assert not validator.is_valid({})


async def test_sleeping_model_answers_202_and_the_same_call_works_when_it_is_ready(
    client: httpx2.AsyncClient,
) -> None:
    cold = await client.post(GENERATE, json=QUICK)
    assert cold.status_code == 202
    assert cold.json()["status"] == "loading"
    assert cold.json()["state"] == "waking"
    assert 1 <= int(cold.headers["retry-after"]) <= 60
    assert cold.headers["location"] == "/kandinsky-demo/v1/health"
    assert cold.json()["poll_url"] == "http://gateway/kandinsky-demo/v1/health"
    await until_ready(client)
    warm = await client.post(GENERATE, json=QUICK)
    assert warm.status_code == 200


async def test_generation_carries_picture_parameters_and_cost(
    client: httpx2.AsyncClient, service: Service
) -> None:
    await service.served("demo").life.wake()
    body = (await client.post(GENERATE, json=QUICK)).json()
    assert body["status"] == "success"
    assert body["model"] == "demo"
    assert body["image"] == body["images"][0]
    assert picture(body["image"]).size == (128, 128)
    assert body["parameters"]["num_inference_steps"] == 2
    assert body["parameters"]["guidance_scale"] == 2.0
    cost = body["compute_metrics"]
    assert cost["steps"] == 2
    assert cost["inference_seconds"] > 0
    assert cost["query_duration_seconds"] >= cost["inference_seconds"]
    assert cost["replica_memory_mb"] > 0
    assert cost["load_seconds"] == 0
    assert cost["replica_gpu_utilization_percent"] is None


async def test_same_seed_gives_the_same_bytes(client: httpx2.AsyncClient, service: Service) -> None:
    await service.served("demo").life.wake()
    first, second, other = [
        (await client.post(GENERATE, json=QUICK | {"seed": seed})).json()["image"] for seed in (5, 5, 6)
    ]
    assert first == second
    assert first != other


async def test_root_generate_takes_the_model_from_the_body(
    client: httpx2.AsyncClient, service: Service
) -> None:
    await service.served("demo").life.wake()
    named = await client.post("/generate", json=QUICK | {"model": "demo"})
    unnamed = await client.post("/generate", json=QUICK)
    assert named.json()["image"] == unnamed.json()["image"]


async def test_bad_input_is_refused_without_waking_the_model(client: httpx2.AsyncClient) -> None:
    answer = await client.post(GENERATE, json={"prompt": "x", "num_infrence_steps": 3})
    message = assert_error(
        answer, 400, type="invalid_request_error", code="unknown_parameter", param="num_infrence_steps"
    )
    assert "num_inference_steps" in message
    assert (await client.get("/kandinsky-demo/v1/health")).json()["state"] == "asleep"


async def test_missing_prompt_is_named(client: httpx2.AsyncClient) -> None:
    answer = await client.post(GENERATE, json={})
    assert_error(answer, 400, type="invalid_request_error", code="missing_required_parameter", param="prompt")


async def test_health_shows_the_load(client: httpx2.AsyncClient) -> None:
    await client.post(GENERATE, json=QUICK)
    seen = (await client.get("/kandinsky-demo/v1/health")).json()
    assert seen["state"] == "waking"
    assert 0 <= seen["progress"] <= 1
    assert seen["elapsed_seconds"] >= 0
    assert (await until_ready(client))["status"] == "healthy"


async def test_models_lists_state_and_places(client: httpx2.AsyncClient) -> None:
    (row,) = (await client.get("/models")).json()["models"]
    assert row["model_id"] == "demo"
    assert row["state"] == "asleep"
    assert row["schema_url"] == "/kandinsky-demo/v1/schema"
    assert (await client.get("/kandinsky-demo/v1/models")).json()["models"] == [row]


async def until_ready(client: httpx2.AsyncClient) -> dict[str, object]:
    async with asyncio.timeout(60):
        while True:
            seen: dict[str, object] = (await client.get("/kandinsky-demo/v1/health")).json()
            if seen["state"] == "ready":
                return seen
            await asyncio.sleep(0.05)
