"""The whole service, from the command line, in a state folder of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.deployed import DEADLINE_SECONDS, Deployed, until


@dataclass(frozen=True)
class Answer:
    """A picture (base64, or a failure's text), the seconds that it took, and the state before."""

    picture: str
    seconds: float
    state: str


class Service(Deployed):
    """A service that runs; ``variables`` of the environment are settings."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        super().__init__(folder, variables)
        self.client = httpx2.Client(base_url=self.url, timeout=DEADLINE_SECONDS)

    def health(self, model: str) -> dict[str, Any]:
        """What the service says of a model."""
        answer: dict[str, Any] = self.client.get(f"/kandinsky-{model}/v1/health").raise_for_status().json()
        return answer

    def draw(self, model: str, *, edge: int, steps: int, **more: Any) -> Answer:
        """Draw one picture, holding on while the model wakes."""
        state = self.health(model)["state"]
        body = {
            "model": model,
            "prompt": "snowy mountains at night",
            "size": f"{edge}x{edge}",
            "num_inference_steps": steps,
            "seed": 7,
            "response_format": "b64_json",
        } | more
        started = time.perf_counter()
        answer = self.client.post("/v1/images/generations", json=body)
        seconds = time.perf_counter() - started
        if answer.status_code != 200:
            return Answer(f"{answer.status_code} {answer.text[:400]}", seconds, state)
        return Answer(answer.json()["data"][0]["b64_json"], seconds, state)

    def until(self, model: str, *states: str) -> float:
        """Wait until a model is in one of ``states``, and say how many seconds that took."""
        return until(lambda: self.health(model)["state"] in states)
