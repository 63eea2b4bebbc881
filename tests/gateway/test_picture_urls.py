"""Pictures behind URLs: fetched without a key, gone after their time, kept over a restart."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from engines.calls import EncodedImage, ImageFormat
from engines.errors import StorageFailed
from gateway.service import Service
from gateway.storage import Storage
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

GENERATIONS = "/v1/images/generations"
QUICK: dict[str, Any] = {"prompt": "hills", "model": "demo", "num_inference_steps": 2}
IMAGE = EncodedImage(data=b"bytes", format=ImageFormat.PNG, width=1, height=1, seed=0)


async def test_url_leads_to_the_picture(client: httpx2.AsyncClient) -> None:
    body = QUICK | {"response_format": "url", "output_format": "webp"}
    data = (await client.post(GENERATIONS, json=body)).json()["data"][0]
    assert "b64_json" not in data
    assert data["url"].startswith("http://gateway/v1/images/files/")
    assert data["url"].endswith(".webp")
    answer = await client.get(data["url"])
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(answer.content)).size == (128, 128)
    head = await client.head(data["url"])
    assert (head.status_code, head.content) == (200, b"")


async def test_other_names_get_both(client: httpx2.AsyncClient) -> None:
    data = (await client.post(GENERATIONS, json=QUICK)).json()["data"][0]
    assert {"b64_json", "url"} <= set(data)
    data = (await client.post(GENERATIONS, json=QUICK | {"model": "dall-e-3"})).json()["data"][0]
    assert "b64_json" not in data


@pytest.mark.parametrize("name", ["9999999999-" + "0" * 32 + ".png", "x.png", "1-2.png", "..%2f..%2fetc.png"])
async def test_unknown_picture_is_not_found(client: httpx2.AsyncClient, name: str) -> None:
    answer = await client.get(f"/v1/images/files/{name}")
    assert_error(answer, 404, type="invalid_request_error", code=None, param=None)


async def test_expired_picture_is_not_found_and_swept(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    kept = await storage.publish(IMAGE, seconds=60)
    expired = await storage.publish(IMAGE, seconds=-60)
    assert await storage.picture(kept) == (b"bytes", "image/png")
    assert await storage.picture(expired) is None
    assert await storage.sweep() == 1
    assert [path.name for path in (tmp_path / "images").iterdir()] == [kept]


async def test_picture_outlives_the_process_that_drew_it(tmp_path: Path) -> None:
    name = await Storage(str(tmp_path)).publish(IMAGE, seconds=60)
    assert int(name[:10]) > time.time()
    assert await Storage(str(tmp_path)).picture(name) == (b"bytes", "image/png")


async def test_storage_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file where the folder should be")
    with pytest.raises(StorageFailed, match="cannot be written"):
        await Storage(str(tmp_path)).publish(IMAGE, seconds=60)


async def test_forwarded_address_counts_only_from_a_trusted_proxy(
    client: httpx2.AsyncClient, service: Service
) -> None:
    forwarded = {"x-forwarded-host": "pictures.example", "x-forwarded-proto": "https"}
    body = QUICK | {"response_format": "url"}

    async def url() -> str:
        answer = await client.post(GENERATIONS, json=body, headers=forwarded)
        return str(answer.json()["data"][0]["url"])

    assert (await url()).startswith("http://gateway/")
    service.settings = service.settings.model_copy(update={"trusted_proxies": ("127.0.0.0/8",)})
    assert (await url()).startswith("https://pictures.example/v1/")
    service.settings = service.settings.model_copy(update={"public_url": "https://art.example/api/"})
    assert (await url()).startswith("https://art.example/api/v1/")
