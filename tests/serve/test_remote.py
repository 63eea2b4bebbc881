"""A model of another server on real Ray Serve; the other server is this one, by its own address."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serve.conftest import RunningService


@pytest.fixture
def far(service: RunningService, tmp_path: Path) -> str:
    key = tmp_path / "key"
    key.write_text("any")
    service.command(
        *("add-remote", "far", "--base-url", f"{service.url}/v1", "--model", "demo"),
        *("--api-key-file", str(key), "--alias", "away"),
    )
    return "far"


def test_a_remote_model_comes_draws_and_goes(service: RunningService, far: str) -> None:
    body = {"model": "away", "prompt": "hills", "num_inference_steps": 2}
    answer = service.client.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == far
    listed = {model["id"]: model["state"] for model in service.client.get("/v1/models").json()["data"]}
    assert listed["far"] == listed["away"] == "remote"
    for command in ("list", "status"):
        assert f"demo at {service.url}/v1" in service.command(command).stdout
    service.command("undeploy", far)
    assert service.client.get("/v1/models/far").status_code == 404
