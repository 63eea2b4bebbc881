"""What `/v1/models` tells of a model's life."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from engines.detection import detect
from gateway.app import create_app
from tests.gateway import in_process

pytestmark = pytest.mark.anyio


async def test_model_that_was_used_is_ready(client: httpx2.AsyncClient) -> None:
    before = (await client.get("/v1/models/demo")).json()
    body = {"prompt": "a lake", "num_inference_steps": 1}
    (await client.post("/v1/images/generations", json=body)).raise_for_status()
    after = (await client.get("/v1/models/demo")).json()
    assert (before["state"], after["state"]) == ("asleep", "ready")
    assert before["sizes"] == after["sizes"]
    assert (after["reason"], after["capabilities"]) == (None, before["capabilities"])


async def test_model_that_cannot_be_loaded_says_why(
    tiny_models: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_models("kandinsky3"), folder)
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"block_out_channels": [32, 96]}))
    service = in_process.service(in_process.config(detect(folder, name="broken")))
    transport = httpx2.ASGITransport(app=create_app(service), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as client:
        answer = await client.post("/v1/images/generations", json={"model": "broken", "prompt": "a fox"})
        model = (await client.get("/v1/models/broken")).json()
    service.close()
    assert answer.status_code >= 500
    assert model["state"] == "failed"
    assert "unet" in model["reason"]
