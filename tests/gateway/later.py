"""Calls that are answered later, as tests make them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2

from gateway.app import create_app
from gateway.service import Service
from gateway.settings import Settings
from tests.gateway import in_process
from tests.gateway.conftest import demo_config

GENERATIONS = "/v1/images/generations"
NATIVE = "/kandinsky-demo/v1/generate"
QUICK: dict[str, Any] = {"prompt": "hills", "num_inference_steps": 2, "seed": 5}
ENDLESS: dict[str, Any] = {"prompt": "hills", "num_inference_steps": 1000}
ASYNC = {"prefer": "respond-async"}


@asynccontextmanager
async def gateway(
    folder: Path | None = None, **settings: Any
) -> AsyncIterator[tuple[Service, httpx2.AsyncClient]]:
    """A gateway with the demo model that keeps everything in a folder, and a client of it."""
    given = {"state_folder": None if folder is None else str(folder), **settings}
    config = demo_config().model_copy(update={"settings": Settings.model_validate(given)})
    service = in_process.service(config)
    transport = httpx2.ASGITransport(app=create_app(service), raise_app_exceptions=False)
    client = httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60)
    async with client, in_process.closing(service):
        yield service, client


async def submitted(
    client: httpx2.AsyncClient, body: dict[str, Any], path: str = GENERATIONS, **headers: str
) -> dict[str, Any]:
    """The job of a call."""
    answer = await client.post(path, json=body, headers=ASYNC | headers)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def reached(client: httpx2.AsyncClient, job: dict[str, Any], *statuses: str) -> dict[str, Any]:
    """The job once it has come to one of these states; without any, to its end."""
    wanted = statuses or ("completed", "failed", "cancelled", "expired")
    with anyio.fail_after(60):
        while job["status"] not in wanted:
            await anyio.sleep(0.01)
            job = (await client.get(f"/v1/jobs/{job['id']}")).json()
    return job
