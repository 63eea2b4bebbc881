"""OpenAI's files and batches by its SDK: kept over a restart, drawn behind live requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from openai.types import Batch

from gateway.app import create_app
from gateway.service import GatewayConfig, Service
from tests.gateway import in_process
from tests.gateway.conftest import demo_config
from tests.gateway.test_edit_routes import png
from tests.gateway.wire import assert_error, picture

pytestmark = pytest.mark.anyio

QUICK: dict[str, Any] = {"model": "demo", "prompt": "hills", "num_inference_steps": 2, "seed": 5}
GENERATIONS = "/v1/images/generations"


def sdk_of(service: Service) -> AsyncOpenAI:
    transport = httpx2.ASGITransport(app=create_app(service))
    client = httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60)
    return AsyncOpenAI(base_url="http://gateway/v1", api_key="none", http_client=client, max_retries=0)


@pytest.fixture
async def sdk(service: Service) -> AsyncOpenAI:
    return sdk_of(service)


def kept_in(folder: Path) -> GatewayConfig:
    config = demo_config()
    settings = config.settings.model_copy(update={"storage_url": str(folder)})
    return config.model_copy(update={"settings": settings})


@pytest.fixture
async def restarted(tmp_path: Path) -> AsyncIterator[list[Service]]:
    """Services over one storage, the last of them closed at the end."""
    made = [in_process.service(kept_in(tmp_path))]
    yield made
    made[-1].close()
    for each in made:
        await each._keeping.settled()


def lines(*bodies: dict[str, Any], url: str = GENERATIONS, **changes: Any) -> bytes:
    rows = [
        {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body} | changes
        for number, body in enumerate(bodies)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def submitted(sdk: AsyncOpenAI, data: bytes, endpoint: Any = GENERATIONS) -> Batch:
    file = await sdk.files.create(file=("in.jsonl", data), purpose="batch")
    return await sdk.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"who": "me"}
    )


async def ended(sdk: AsyncOpenAI, batch: Batch) -> Batch:
    with anyio.fail_after(60):
        while batch.status not in ("completed", "failed", "cancelled", "expired"):
            await anyio.lowlevel.checkpoint()
            batch = await sdk.batches.retrieve(batch.id)
    return batch


async def rows(sdk: AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    text = (await sdk.files.content(file_id)).text
    return [json.loads(row) for row in text.splitlines()]


async def test_file_comes_back_as_it_was(sdk: AsyncOpenAI) -> None:
    made = await sdk.files.create(file=("a.png", png()), purpose="vision")
    assert (made.filename, made.purpose, made.bytes, made.object) == ("a.png", "vision", len(png()), "file")
    assert (await sdk.files.retrieve(made.id)).id == made.id
    assert (await sdk.files.content(made.id)).content == png()
    assert (await sdk.files.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        await sdk.files.retrieve(made.id)


async def test_files_are_listed_in_pages(sdk: AsyncOpenAI) -> None:
    made = [(await sdk.files.create(file=(f"{i}", b"x"), purpose="user_data")).id for i in range(3)]
    await sdk.files.create(file=("other", b"x"), purpose="vision")
    found = [file.id async for file in await sdk.files.list(purpose="user_data", limit=2)]
    assert sorted(found) == sorted(made)


async def test_file_that_expires_says_when(sdk: AsyncOpenAI) -> None:
    made = await sdk.files.create(
        file=("a", b"x"), purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    with pytest.raises(openai.BadRequestError, match="above maximum value"):
        await sdk.files.create(
            file=("a", b"x"), purpose="vision", expires_after={"anchor": "created_at", "seconds": 10**8}
        )


@pytest.mark.parametrize("file_id", ["file-unknown", "file-" + "0" * 24, "..%2f..%2fetc"])
async def test_unknown_file_is_not_found(client: httpx2.AsyncClient, file_id: str) -> None:
    answer = await client.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_stored_file_can_be_edited(sdk: AsyncOpenAI, client: httpx2.AsyncClient) -> None:
    file = await sdk.files.create(file=("a.png", png()), purpose="vision")
    body = QUICK | {"images": [{"file_id": file.id}]}
    answer = await client.post("/v1/images/edits", json=body)
    assert picture(answer.json()["data"][0]["b64_json"]).size == (128, 128)


async def test_batch_draws_every_line_and_tells_the_failed_ones_apart(sdk: AsyncOpenAI) -> None:
    batch = await submitted(sdk, lines(QUICK, QUICK | {"seed": 6}, QUICK | {"n": 11}))
    done = await ended(sdk, batch)
    assert (done.status, done.metadata) == ("completed", {"who": "me"})
    counts = done.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (3, 2, 1)
    good = await rows(sdk, done.output_file_id)
    assert [row["custom_id"] for row in good] == ["line-0", "line-1"]
    assert picture(good[0]["response"]["body"]["data"][0]["b64_json"]).size == (128, 128)
    (bad,) = await rows(sdk, done.error_file_id)
    assert bad["response"]["status_code"] == 400
    assert bad["response"]["body"]["error"]["param"] == "n"


async def test_line_of_a_batch_draws_what_a_live_call_draws(
    sdk: AsyncOpenAI, client: httpx2.AsyncClient
) -> None:
    done = await ended(sdk, await submitted(sdk, lines(QUICK)))
    (row,) = await rows(sdk, done.output_file_id)
    live = (await client.post(GENERATIONS, json=QUICK)).json()
    assert row["response"]["body"]["data"][0]["b64_json"] == live["data"][0]["b64_json"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"no json\n", "invalid_json_line"),
        (lines(QUICK, url="/v1/chat/completions"), "mismatched_endpoint"),
        (lines(QUICK, QUICK, custom_id="same"), "duplicate_custom_id"),
        (lines(QUICK, method="GET"), "invalid_method"),
    ],
)
async def test_batch_with_a_bad_input_fails_and_says_why(sdk: AsyncOpenAI, data: bytes, code: str) -> None:
    done = await ended(sdk, await submitted(sdk, data))
    assert done.status == "failed"
    assert done.errors is not None
    assert [fault.code for fault in done.errors.data or []] == [code]


async def test_batch_can_be_cancelled(sdk: AsyncOpenAI) -> None:
    batch = await submitted(sdk, lines(*[QUICK | {"num_inference_steps": 20}] * 50))
    assert (await sdk.batches.cancel(batch.id)).status == "cancelling"
    done = await ended(sdk, batch)
    assert done.status == "cancelled"
    with pytest.raises(openai.ConflictError, match="its status is 'cancelled'"):
        await sdk.batches.cancel(batch.id)


async def test_unknown_batch_is_not_found(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/batches/batch_none")
    assert_error(answer, 404, type="invalid_request_error", code=None, param="batch_id")


async def test_batch_goes_on_after_a_restart_without_drawing_anew(
    restarted: list[Service], tmp_path: Path
) -> None:
    first = sdk_of(restarted[0])
    batch = await submitted(first, lines(*[QUICK] * 4))
    with anyio.fail_after(60):
        while not (await first.batches.retrieve(batch.id)).request_counts.completed:  # type: ignore[union-attr]
            await anyio.lowlevel.checkpoint()
    restarted[0].close()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "batches" / batch.id).iterdir()}
    assert 1 <= len(kept) < 4
    restarted.append(in_process.service(kept_in(tmp_path)))
    done = await ended(sdk_of(restarted[1]), batch)
    assert done.status == "completed"
    assert len(await rows(sdk_of(restarted[1]), done.output_file_id)) == 4


async def test_batches_line_waits_for_live_requests(service: Service, sdk: AsyncOpenAI) -> None:
    line = service.served("demo").line
    live = line.join("somebody")
    batch = await submitted(sdk, lines(QUICK))
    with anyio.move_on_after(0.5):
        await ended(sdk, batch)
    assert (await sdk.batches.retrieve(batch.id)).status == "in_progress"
    line.leave(live)
    assert (await ended(sdk, batch)).status == "completed"
