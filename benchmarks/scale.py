"""What a request costs in CPU time, process by process, and what models that sleep cost.

    .venv/bin/python benchmarks/scale.py [--models 1 50] [--requests 200]

Starts a service of its own in a temporary folder. CPU time is read from the processes, so other work on the
machine disturbs it little; one core serves 1000 / (CPU ms) requests a second at best.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from engines.calls import EngineOptions
from engines.detection import demo_card
from engines.discovery import discover
from gateway.cli.progress import Progress
from gateway.control import Control
from gateway.ports import free_port
from gateway.processes import session_members
from gateway.registry import ModelEntry
from gateway.state import Deployed, StateFolder

PARTS = {
    "proxy": "ray::ProxyActor",
    "gateway": "ServeReplica:gateway:Gateway",
    "engine": "ServeReplica:model-",
    "controller": "ray::ServeController",
}
WORKERS = 8
IDLE_SECONDS = 20.0


@contextmanager
def service(models: int) -> Iterator[tuple[StateFolder, httpx2.Client]]:
    """A service with so many models, all of them the demo."""
    with tempfile.TemporaryDirectory() as folder:
        state, port = StateFolder(Path(folder)), free_port()
        state.prepare()
        state.remember(Deployed(models=tuple(entries(models))))
        variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        control = Control(state, variables | {"PORT": str(port), "HOST": "127.0.0.1"}, Progress())
        try:
            cluster, _ = control.start()
            with httpx2.Client(base_url=cluster.url, timeout=300) as client:
                yield state, client
        finally:
            control.stop()


def entries(count: int) -> Iterator[ModelEntry]:
    """The demo under many names."""
    card = demo_card()
    schema = discover(card)
    for number in range(count):
        named = card.model_copy(update={"name": f"m{number}"})
        yield ModelEntry(card=named, schema_=schema, options=EngineOptions(threads=1), created=1)


def cpu_seconds(state: StateFolder) -> dict[str, float]:
    """The CPU time that each part has used."""
    record = state.cluster()
    assert record is not None
    used = dict.fromkeys(PARTS, 0.0)
    for process in {p for m in session_members(record.session) for p in (m, *m.children(recursive=True))}:
        try:
            line, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        for part, title in PARTS.items():
            if title in line:
                used[part] += times.user + times.system
    return used


def cost(state: StateFolder, call: Callable[[int], httpx2.Response], requests: int) -> None:
    """Print what a call costs each part, and how many were answered in a second."""
    call(0).raise_for_status()
    before, started = cpu_seconds(state), time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        sizes = [len(answer.raise_for_status().content) for answer in pool.map(call, range(requests))]
    took, after = time.monotonic() - started, cpu_seconds(state)
    parts = "  ".join(f"{part} {1000 * (after[part] - before[part]) / requests:7.2f}" for part in PARTS)
    print(f"{parts}   {sizes[0] / 2**20:6.2f} MB  {requests / took:7.1f}/s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    for models in options.models:
        with service(models) as (state, client):
            if models == options.models[0]:
                print(f"CPU ms a request, {WORKERS} callers")
                requests(state, client, options.requests)
            asleep(state, models)


def requests(state: StateFolder, client: httpx2.Client, count: int) -> None:
    """Print the costs of some kinds of requests."""
    quick = {"model": "m0", "prompt": "a lake", "num_inference_steps": 1, "seed": 1}
    url = "/v1/images/generations"
    client.post(url, json=quick).raise_for_status()
    kinds: dict[str, tuple[int, Callable[[int], httpx2.Response]]] = {
        "/health": (count, lambda _: client.get("/health")),
        "/v1/models": (count, lambda _: client.get("/v1/models")),
        "picture of 128 x 128, base64": (count, lambda _: client.post(url, json=quick)),
    }
    for size in ("1024x1024", "2048x2048"):
        body = quick | {"size": size, "response_format": "b64_json"}
        kinds[f"picture of {size}, base64"] = (count // 10, lambda _, body=body: client.post(url, json=body))
    for name, (number, call) in kinds.items():
        print(f"{name:28}", end="  ")
        cost(state, call, max(number, WORKERS))


def asleep(state: StateFolder, models: int) -> None:
    """Print what the service costs while nobody calls it."""
    before = cpu_seconds(state)
    time.sleep(IDLE_SECONDS)
    after = cpu_seconds(state)
    shares = "  ".join(f"{part} {100 * (after[part] - before[part]) / IDLE_SECONDS:5.1f} %" for part in PARTS)
    print(f"{models} models, nobody calls: of a core {shares}")


if __name__ == "__main__":
    main()
