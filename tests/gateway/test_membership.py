"""Joining another machine's cluster: what is refused before anything starts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil
import pytest

from gateway import membership, ray_node
from gateway.control import Place, place_from
from gateway.membership import Membership
from gateway.ports import free_port
from gateway.problems import ClusterFailed, Problem
from gateway.processes import identify
from gateway.state import NodeRecord, StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path)
    folder.prepare()
    return folder


def join(state: StateFolder, address: str, token: str | None = "0" * 64) -> None:
    membership.join(state, Membership(address=address), token=token, environment=os.environ)


def record(state: StateFolder) -> None:
    """Note this very process as the raylet of a node."""
    me = identify(psutil.Process())
    node = NodeRecord(address="10.0.0.1:6379", session=0, raylet=me, node_id="", temporary="")
    state.record_node(node)


@pytest.mark.parametrize("address", ["head", "head:", "head:many", ":", "10.0.0.1:٣"])
def test_an_address_without_a_port_is_refused(state: StateFolder, address: str) -> None:
    with pytest.raises(Problem, match="is not HOST:PORT"):
        join(state, address)


def test_a_head_that_does_not_answer_is_told_with_what_it_needs(state: StateFolder) -> None:
    with pytest.raises(ClusterFailed, match="--cluster-host"):
        join(state, f"127.0.0.1:{free_port()}")


def test_without_a_token_it_says_where_one_is(state: StateFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(Problem, match="auth_token"):
        join(state, f"127.0.0.1:{server.getsockname()[1]}", token=None)


def test_a_node_does_not_join_twice(state: StateFolder) -> None:
    record(state)
    with pytest.raises(Problem, match=r"node of 10\.0\.0\.1:6379 already; leave it first"):
        join(state, "10.0.0.2:6379")


def test_leaving_what_was_not_joined_is_no_error(state: StateFolder) -> None:
    assert not membership.leave(state, seconds=1, environment=os.environ)


def test_a_record_is_read_as_it_was_written(state: StateFolder) -> None:
    record(state)
    assert membership.is_member(state)
    state.record_node(None)
    assert not membership.is_member(state)


def test_options_that_were_not_given_are_left_to_ray() -> None:
    words = ray_node.command("--head", labels={"a": "b"}, node_ip_address=None, port=1)
    assert words[-1] == "--port=1"
    assert not any("node-ip-address" in word for word in words)
    assert f"--labels={ray_node.VERSION_LABEL}={ray_node.program_version()},a=b" in words


def test_a_node_opens_ports_only_to_work_together(state: StateFolder) -> None:
    alone = ray_node.environment_of(state, {}, together=False)
    together = ray_node.environment_of(state, {}, together=True)
    assert (alone[ray_node.TOGETHER_VARIABLE], together[ray_node.TOGETHER_VARIABLE]) == ("0", "1")


@pytest.mark.parametrize("text", ["head", "0.0.0.0", "127.0.0.1", "::"])
def test_the_address_to_join_at_must_be_one_that_others_can_reach(text: str) -> None:
    with pytest.raises(Problem, match=f"CLUSTER_HOST='?{text}"):
        place_from({"CLUSTER_HOST": text})


def test_the_address_to_join_at_comes_from_the_environment() -> None:
    assert place_from({"CLUSTER_HOST": "10.0.0.1"}) == Place(cluster_host="10.0.0.1")
