"""Pictures behind URLs: fetched without a key, gone after their time, kept over a restart."""

from __future__ import annotations

import asyncio
import io
import re
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from engines.calls import EncodedImage, ImageFormat
from gateway.app import create_app
from gateway.objects import Objects
from gateway.service import GatewayConfig, Service
from gateway.settings import Settings
from gateway.storage import Storage
from tests.gateway import in_process
from tests.gateway.conftest import demo_config
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


async def test_address_dies_with_its_time(tmp_path: Path) -> None:
    now = time.time()
    storage = Storage(Objects(str(tmp_path)), clock=lambda: now)
    name = await storage.publish(IMAGE, seconds=60)
    assert storage.find(name) is not None
    now += 59
    assert storage.find(name) is not None
    now += 2
    assert storage.find(name) is None


async def test_picture_of_a_longer_life_cannot_be_made_up(client: httpx2.AsyncClient) -> None:
    body = QUICK | {"response_format": "url"}
    url = (await client.post(GENERATIONS, json=body)).json()["data"][0]["url"]
    expiry = re.search(r"/(\d+)-", url)
    assert expiry is not None
    answer = await client.get(url.replace(expiry[1], str(int(expiry[1]) + 3600)))
    assert_error(answer, 404, type="invalid_request_error", code=None, param=None)


async def test_expired_pictures_are_swept_and_others_stay(tmp_path: Path) -> None:
    now = 500_000 * 3600.0
    storage = Storage(Objects(str(tmp_path)), clock=lambda: now)
    names = [await storage.publish(IMAGE, seconds=seconds) for seconds in (60, 1800, 3600, 7200)]
    left = []
    for seconds in (120, 3600, 3600):
        now += seconds
        await storage.sweep()
        left.append(sorted(path.name for path in tmp_path.glob("images/*/*")))
    assert left == [names[1:], names[3:], []]
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["500002"]


async def test_gateway_that_starts_sweeps_what_expired_meanwhile(tmp_path: Path) -> None:
    past = Storage(Objects(f"{tmp_path}/storage"), clock=lambda: time.time() - 7200)
    await past.publish(IMAGE, seconds=60)
    service = in_process.service(GatewayConfig(settings=Settings(state_folder=str(tmp_path))))
    try:
        async with asyncio.timeout(10):
            while list(tmp_path.glob("storage/images/*")):
                await asyncio.sleep(0)
    finally:
        service.close()


async def test_picture_outlives_the_process_that_drew_it(tmp_path: Path) -> None:
    name = await Storage(Objects(str(tmp_path))).publish(IMAGE, seconds=60)
    found = Storage(Objects(str(tmp_path))).find(name)
    assert found is not None
    assert await Objects(str(tmp_path)).read(found.path) == b"bytes"


@pytest.fixture
async def url(service: Service) -> str:
    """A published picture of ten bytes."""
    image = EncodedImage(data=b"0123456789", format=ImageFormat.JPEG, width=1, height=1, seed=0)
    return f"/v1/images/files/{await service.storage.publish(image, seconds=3600)}"


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("bytes=5-2", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
async def test_part_of_a_picture(
    client: httpx2.AsyncClient, url: str, asked: str, status: int, part: bytes
) -> None:
    answer = await client.get(url, headers={"range": asked})
    assert (answer.status_code, answer.content) == (status, part)
    assert answer.headers["content-length"] == str(len(part))
    if status == 206:
        start = b"0123456789".index(part)
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(part) - 1}/10"


async def test_range_behind_the_end(client: httpx2.AsyncClient, url: str) -> None:
    answer = await client.get(url, headers={"range": "bytes=10-"})
    assert_error(answer, 416, type="invalid_request_error", code=None, param=None)
    assert answer.headers["content-range"] == "bytes */10"


async def test_picture_that_the_client_has_is_not_sent_again(client: httpx2.AsyncClient, url: str) -> None:
    first = await client.get(url)
    assert first.headers["cache-control"].startswith("private, max-age=")
    tag = first.headers["etag"]
    again = await client.get(url, headers={"if-none-match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = await client.get(url, headers={"range": "bytes=0-1", "if-range": '"other"'})
    assert (changed.status_code, changed.content) == (200, b"0123456789")


async def test_head_tells_of_the_picture(client: httpx2.AsyncClient, url: str) -> None:
    answer = await client.head(url)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (answer.headers["content-length"], answer.headers["content-type"]) == ("10", "image/jpeg")


async def test_picture_needs_no_key_and_suffers_one(
    client: httpx2.AsyncClient, service: Service, url: str
) -> None:
    service.settings = Settings(api_keys=("secret",))
    assert (await client.get("/v1/models")).status_code == 401
    assert (await client.get(url)).status_code == 200
    assert (await client.get(url, headers={"authorization": "Bearer wrong"})).status_code == 200


async def test_storage_that_fails_costs_the_url_and_not_the_picture(
    tmp_path: Path,
) -> None:
    (tmp_path / "storage").write_text("a file where the folder should be")
    settings = Settings(state_folder=str(tmp_path))
    service = in_process.service(demo_config().model_copy(update={"settings": settings}))
    transport = httpx2.ASGITransport(app=create_app(service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        both = (await client.post(GENERATIONS, json=QUICK)).json()
        only_url = await client.post(GENERATIONS, json=QUICK | {"response_format": "url"})
    service.close()
    assert set(both["data"][0]) == {"b64_json", "seed"}
    assert "no URL" in both["ignored"][-1]["reason"]
    message = assert_error(only_url, 507, type="server_error", code="storage_failed", param=None)
    assert str(tmp_path) not in message


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
    forwarded["x-forwarded-prefix"] = "/art"
    assert (await url()).startswith("https://pictures.example/art/v1/")
    forwarded["x-forwarded-host"] = "evil.example/path?"
    assert (await url()).startswith("https://gateway/art/v1/")
    service.settings = service.settings.model_copy(update={"public_url": "https://art.example/api/"})
    assert (await url()).startswith("https://art.example/api/v1/")
