"""A cluster of two nodes: an engine that runs away from the gateway, and nodes that leave, die and come back.

Both are on this machine, under addresses of their own.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from gateway.ports import free_port
from gateway.processes import session_members
from tests.serve.conftest import RunningService

HEAD = "127.0.0.2"
NODE = "127.0.0.3"
GENERATE = "/v1/images/generations"
QUICK: dict[str, Any] = {"model": "far", "prompt": "the sea at sunset", "num_inference_steps": 2, "seed": 5}
SLOW = QUICK | {"num_inference_steps": 60, "size": "256x256"}


def can_listen(address: str) -> bool:
    """Whether this machine has the address; on Linux it has all of 127.0.0.0/8."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(
    not can_listen(HEAD) or not can_listen(NODE), reason=f"this machine has no addresses {HEAD} and {NODE}"
)


class TwoNodes:
    """The head with its gateway, and a second node with the resource ``slot``, on which the model runs."""

    def __init__(self, folder: Path) -> None:
        self.head = RunningService(folder / "head", free_port())
        self._folder = folder
        self._node = {"KANDINSKY_HOME": str(folder / "node")}

    def start(self) -> None:
        """Start the head with a model that needs the resource of the node, and join that."""
        words = (
            "deploy",
            "--model-name",
            "far",
            "--threads",
            "1",
            "--resource",
            "slot",
            "--cluster-host",
            HEAD,
        )
        # Two nodes share two cores here: a spare worker on each would be what they are busy with.
        self.head.command(*words, variables={"KANDINSKY_SPARE_ENGINES": "0"})
        self.join("--token-file", str(self._folder / "head" / "auth_token"))

    def join(self, *options: str) -> None:
        """Add the node."""
        record = json.loads((self._folder / "head" / "cluster.json").read_text())
        address = f"{HEAD}:{record['gcs_port']}"
        arguments = ("join", address, "--node-ip", NODE, "--resource", "slot", *options)
        self.head.command(*arguments, variables=self._node)

    def leave(self) -> str:
        """Take the node away as one should; the command's words."""
        return self.head.command("leave", variables=self._node).stdout

    def raylet(self) -> psutil.Process:
        """The process without which the node is none."""
        record = json.loads((self._folder / "node" / "node.json").read_text())
        return psutil.Process(record["raylet"]["pid"])

    def draw(self, body: dict[str, Any]) -> httpx2.Response:
        """Ask for a picture."""
        return self.head.client.post(GENERATE, json=body)

    def stop(self) -> None:
        """End both."""
        self.head.command("leave", "--seconds", "0", variables=self._node, check=False)
        self.head.command("stop", check=False)
        self.head.client.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    nodes = TwoNodes(tmp_path_factory.mktemp("two"))
    try:
        nodes.start()
        assert nodes.draw(QUICK).status_code == 200
        yield nodes
    finally:
        nodes.stop()


def under_way(cluster: TwoNodes, pool: ThreadPoolExecutor, count: int) -> list[Future[httpx2.Response]]:
    """Ask for slow pictures, and return when the first is being drawn."""
    answers = [pool.submit(cluster.draw, SLOW | {"seed": seed}) for seed in range(count)]
    cluster.head.until("far", "busy")
    return answers


def pictures(answers: list[Future[httpx2.Response]]) -> list[str]:
    """The pictures; every request must have been answered with one."""
    replies = [answer.result() for answer in answers]
    assert [reply.status_code for reply in replies] == [200] * len(replies), [r.text[:300] for r in replies]
    return [reply.json()["data"][0]["b64_json"] for reply in replies]


def test_engine_runs_where_its_resource_is(cluster: TwoNodes) -> None:
    engines = [child for child in cluster.raylet().children() if is_engine(child)]
    assert len(engines) == 1


def test_no_request_is_lost_when_a_node_dies_and_another_joins(cluster: TwoNodes) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = under_way(cluster, pool, 3)
        raylet = cluster.raylet()
        session = os.getsid(raylet.pid)
        raylet.kill()
        raylet.wait(timeout=30)
        cluster.join()
        assert session_members(session) == []
        drawn = pictures(answers)
        again = pictures(under_way(cluster, pool, 3))
    assert drawn == again


def test_node_that_leaves_ends_its_picture_first(cluster: TwoNodes) -> None:
    with ThreadPoolExecutor(1) as pool:
        [answer] = under_way(cluster, pool, 1)
        assert "Left." in cluster.leave()
        pictures([answer])
        cluster.join()
    assert cluster.draw(QUICK).status_code == 200


def test_two_models_share_the_one_place(cluster: TwoNodes) -> None:
    """Each needs all of the node's resource: one makes room for the other, and nobody waits for ever."""
    options = ("--model-name", "further", "--threads", "1", "--resource", "slot")
    cluster.head.command("deploy", *options)
    with ThreadPoolExecutor(4) as pool:
        names = ["far", "further", "far", "further"]
        pictures([pool.submit(cluster.draw, QUICK | {"model": name}) for name in names])
    assert sum(is_engine(child) for child in cluster.raylet().children()) == 1
    cluster.head.command("undeploy", "further")


def is_engine(process: psutil.Process) -> bool:
    """Whether a process is the engine of a model."""
    return any("ServeReplica:model-f" in word for word in process.cmdline())
