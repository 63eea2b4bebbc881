"""Several replicas of a model, and the worker that waits for the next one, on real Ray Serve."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil

from engines.marking import is_marked
from tests.serve.conftest import RunningService, until

REPLICA = "ServeReplica:model-scaled"
BODY = {"prompt": "the sea at sunset", "num_inference_steps": 25, "width": 192, "height": 192}
CLIENTS = 5


def test_second_replica_takes_load_once_it_is_loaded_and_both_leave_when_nobody_calls(
    service: RunningService,
) -> None:
    service.deploy(None, "scaled", "--max-replicas", "2", "--idle-seconds", "2")
    with calling(service) as clients:
        until(lambda: replicas_that_drew(service), lambda count: count == 2)
    answers = [answer for client in clients for answer in client.result()]
    # No call was sent to a replica that had yet to load, and none was cut.
    assert {answer["compute_metrics"]["load_seconds"] for answer in answers} == {0.0}
    until(lambda: replicas(service), lambda count: count == 0)
    service.command("undeploy", "scaled")


def test_spare_worker_waits_for_the_next_wake(service: RunningService) -> None:
    service.deploy(None, "demo", variables={"KANDINSKY_SPARE_ENGINES": "1"})
    until(lambda: any(is_spare(process) for process in service.processes("ray::IDLE")), bool)
    service.deploy(None, "demo", variables={"KANDINSKY_SPARE_ENGINES": "0"})


@contextmanager
def calling(service: RunningService) -> Iterator[list[Future[list[dict[str, Any]]]]]:
    """Clients that call one after another until the end of the block; their answers."""
    enough = threading.Event()

    def call() -> list[dict[str, Any]]:
        answers = []
        while not enough.is_set():
            held = service.client.post("/kandinsky-scaled/v1/generate", json=BODY)
            if held.raise_for_status().status_code == 200:
                answers.append(held.json())
            else:
                enough.wait(0.2)
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(call) for _ in range(CLIENTS)]
        try:
            yield clients
        finally:
            enough.set()


def replicas(service: RunningService) -> int:
    return sum(1 for _ in service.processes(REPLICA))


def replicas_that_drew(service: RunningService) -> int:
    logs = service.logs.glob("serve/replica_model-scaled_*.log")
    return sum(" OK " in log.read_text() for log in logs)


def is_spare(process: psutil.Process) -> bool:
    try:
        return is_marked(process.environ())
    except psutil.Error:
        return False
