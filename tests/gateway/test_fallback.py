"""Who answers while a model sleeps: the demo model really wakes, and another one stands in for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from openai import AsyncOpenAI

from engines.detection import demo_card
from gateway.answering import FALLBACK_HEADER
from gateway.app import create_app
from gateway.registry import ModelEntry
from gateway.remotes import RemoteEntry
from gateway.service import GatewayConfig, Service
from gateway.status import State
from tests.gateway.conftest import demo_config
from tests.gateway.elsewhere import Elsewhere
from tests.gateway.in_process import InProcessEngine
from tests.gateway.test_files_and_batches import ended, lines, rows, submitted
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

PATH = "/v1/images/generations"
BODY = {"model": "demo", "prompt": "hills", "response_format": "b64_json"}
FAR = RemoteEntry(name="far", base_url="http://images.internal/v1", model="theirs")


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


def config(fallback: str) -> GatewayConfig:
    """The demo model with a fallback, a second one called ``near``, and another server's called ``far``."""
    [demo] = demo_config().models
    near = demo.model_copy(update={"card": demo.card.model_copy(update={"name": "near"}), "aliases": ()})
    return GatewayConfig(models=(_with(demo, fallback), near), remotes=(FAR,))


def _with(entry: ModelEntry, fallback: str) -> ModelEntry:
    return entry.model_copy(update={"fallback": fallback})


@pytest.fixture
async def service(elsewhere: Elsewhere) -> AsyncIterator[Service]:
    made = Service(lambda _: InProcessEngine(demo_card()), elsewhere.reach)
    made.configure(config("far"))
    yield made
    await made.close_remotes()
    made.close()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=create_app(service), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as made:
        yield made


async def awake(service: Service, model: str) -> None:
    async with asyncio.timeout(60):
        while await service.wake_unless_ready(model) is not None:
            await asyncio.sleep(0.01)


async def test_a_sleeping_model_is_stood_in_for_and_woken_meanwhile(
    client: httpx2.AsyncClient, service: Service, elsewhere: Elsewhere
) -> None:
    answer = await client.post(PATH, json=BODY)
    assert (answer.json()["model"], answer.headers[FALLBACK_HEADER]) == ("far", "far")
    assert json.loads(elsewhere.asked[0].content)["model"] == "theirs"
    assert service.status("demo").state is State.WAKING
    await awake(service, "demo")
    own = await client.post(PATH, json=BODY)
    assert own.json()["model"] == "demo"
    assert FALLBACK_HEADER not in own.headers
    assert len(elsewhere.asked) == 1


async def test_what_the_fallback_cannot_take_is_held_for_its_own_model(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.refuses(400, message="Unknown parameter: 'num_inference_steps'.")
    answer = await client.post(PATH, json=BODY | {"num_inference_steps": 2})
    assert answer.json()["model"] == "demo"
    assert FALLBACK_HEADER not in answer.headers
    assert len(elsewhere.asked) == 1


async def test_a_fallback_that_is_down_is_no_fault_of_the_request(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.raises(httpx2.ConnectError("refused"))
    answer = await client.post(PATH, json=BODY | {"num_inference_steps": 2})
    assert answer.json()["model"] == "demo"


async def test_a_bad_request_wakes_nobody_and_asks_nobody(
    client: httpx2.AsyncClient, service: Service, elsewhere: Elsewhere
) -> None:
    answer = await client.post(PATH, json=BODY | {"num_infrence_steps": 2})
    assert_error(
        answer, 400, type="invalid_request_error", code="unknown_parameter", param="num_infrence_steps"
    )
    assert service.status("demo").state is State.ASLEEP
    assert not elsewhere.asked


async def test_a_model_of_ones_own_stands_in_when_it_is_awake(
    client: httpx2.AsyncClient, service: Service
) -> None:
    service.configure(config("near"))
    await awake(service, "near")
    answer = await client.post(PATH, json=BODY | {"num_inference_steps": 2})
    assert (answer.json()["model"], answer.headers[FALLBACK_HEADER]) == ("near", "near")


@pytest.mark.parametrize("fallback", ["near", "gone", "demo", "dall-e-3"])
async def test_without_a_fallback_that_can_answer_now_the_call_is_held(
    client: httpx2.AsyncClient, service: Service, fallback: str
) -> None:
    service.configure(config(fallback))
    answer = await client.post(PATH, json=BODY | {"num_inference_steps": 2})
    assert answer.json()["model"] == "demo"
    assert service.status("near").state is State.ASLEEP


async def test_a_stream_is_stood_in_for_too(client: httpx2.AsyncClient, service: Service) -> None:
    service.configure(config("near"))
    await awake(service, "near")
    answer = await client.post(PATH, json=BODY | {"stream": True, "num_inference_steps": 2})
    assert answer.headers[FALLBACK_HEADER] == "near"
    assert '"model":"near"' in answer.text


async def test_a_native_call_gets_its_202_as_ever(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/kandinsky-demo/v1/generate", json={"prompt": "hills"})
    assert answer.status_code == 202


async def test_a_line_of_a_batch_waits_for_its_own_model(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    sdk = AsyncOpenAI(base_url="http://gateway/v1", api_key="none", http_client=client)
    bodies = (BODY | {"num_inference_steps": 2}, BODY | {"model": "far"})
    done = await ended(sdk, await submitted(sdk, lines(*bodies)))
    own, far = (row["response"]["body"] for row in await rows(sdk, done.output_file_id))
    assert (own["model"], far["model"]) == ("demo", "far")
    assert len(elsewhere.asked) == 1
