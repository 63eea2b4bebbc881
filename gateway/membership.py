"""This machine as a node of another machine's cluster: joining it, and leaving it.

The engines of the cluster's models run here where the resources that they need are; the gateway sends
them their calls. What a node needs is this program in the same version, the models' files where they are
named by path, and the cluster's token.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Final

import psutil

from engines.schema import Frozen
from gateway import cluster, ray_node
from gateway.probing import probed
from gateway.problems import ClusterFailed, Problem
from gateway.processes import alive, end_session, session_members
from gateway.state import NodeRecord, StateFolder, write_private

REACH_SECONDS: Final = 5.0
PROBE_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.2
NODE_PROGRAMS: Final = ("raylet",)
MARK_LABEL: Final = "kandinsky-gateway/joined"
"""The label by which a node that has just joined is told from all others."""

PROBE: Final = """
import json, logging, sys, ray
ray.init(sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
print(json.dumps([
    {"id": node["NodeID"], "labels": node["Labels"], "head": "node:__internal_head__" in node["Resources"]}
    for node in ray.nodes() if node["Alive"]
]))
"""


class Membership(Frozen):
    """What joining needs. ``address`` is host and port of the head; ``node_ip`` how the head reaches this
    machine, found out where ``None``; ``resources`` are names with which models can be pinned to it."""

    address: str
    node_ip: str | None = None
    resources: dict[str, float] = {}
    num_gpus: float | None = None


class _Node(Frozen):
    id: str
    labels: dict[str, str] = {}
    head: bool = False


def join(
    state: StateFolder, wanted: Membership, *, token: str | None, environment: Mapping[str, str]
) -> NodeRecord:
    """Make this machine a node; return when the cluster knows it.

    Raises:
        Problem: it is one already, or has a cluster of its own.
        ClusterFailed: the head cannot be reached, refuses the token, or runs another version.
    """
    _require_nothing_here(state)
    _require_reachable(wanted.address)
    if token is not None:
        write_private(state.token_file, token.encode())
    elif not state.token_file.exists():
        raise Problem(
            "the cluster's token is missing: copy the file auth_token of the head's state folder, and "
            "name it with --token-file (- reads it from standard input)"
        )
    state.renew_temporary()
    variables = ray_node.environment_of(state, environment, together=True)
    mark = secrets.token_hex(8)
    words = ray_node.command(
        labels={MARK_LABEL: mark},
        address=wanted.address,
        node_ip_address=wanted.node_ip,
        resources=json.dumps(wanted.resources) if wanted.resources else None,
        num_gpus=None if wanted.num_gpus is None else f"{wanted.num_gpus:g}",
        temp_dir=state.temporary,
    )
    log = state.start_log
    with ray_node.starting(words, log=log, environment=variables, folder=state.root) as starting:
        [raylet] = ray_node.programs_of(starting, NODE_PROGRAMS, log=log)
        node = _joined(_nodes(wanted.address, variables), mark)
    record = NodeRecord(
        address=wanted.address,
        session=starting.pid,
        raylet=raylet,
        node_id=node.id,
        temporary=str(state.temporary),
    )
    state.record_node(record)
    return record


def leave(state: StateFolder, *, seconds: int, environment: Mapping[str, str]) -> bool:
    """Take this machine out of the cluster; say whether it was in one.

    New work goes elsewhere at once; what is being drawn here has ``seconds`` to end. Then it is drawn
    again on another node.
    """
    record = state.node()
    if record is None:
        return False
    was_there = alive(record.raylet)
    if was_there:
        variables = ray_node.environment_of(state, environment, together=True)
        if seconds > 0 and _drain(record, seconds, variables):
            deadline = time.monotonic() + seconds
            while alive(record.raylet) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
    _end(record)
    state.record_node(None)
    shutil.rmtree(state.temporary, ignore_errors=True)
    return was_there


def is_member(state: StateFolder) -> bool:
    """Whether this machine is a node that still runs."""
    record = state.node()
    return record is not None and alive(record.raylet)


def _require_nothing_here(state: StateFolder) -> None:
    if cluster.find(state) is not None:
        raise Problem("a service of its own runs on this machine; stop it first, or set KANDINSKY_HOME")
    record = state.node()
    if record is None:
        return
    if alive(record.raylet):
        raise Problem(f"this machine is a node of {record.address} already; leave it first")
    _end(record)
    state.record_node(None)


def _end(record: NodeRecord) -> None:
    """End a node's processes. A raylet that was killed, or has ended, leaves some behind; as the session's
    number may be another's by now, they are known by the folder that they were given."""
    if any(_names(process, record.temporary) for process in session_members(record.session)):
        end_session(record.session)


def _names(process: psutil.Process, folder: str) -> bool:
    try:
        return any(folder in word for word in process.cmdline())
    except psutil.Error:
        return False


def _require_reachable(address: str) -> None:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit():
        raise Problem(f"{address!r} is not HOST:PORT, as in 10.0.0.1:6379")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS):
            return
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterFailed(
            f"no cluster answers at {address}: {reason}. It must have been started with --cluster-host, "
            "and a firewall must let this machine through"
        ) from error


def _joined(nodes: list[_Node], mark: str) -> _Node:
    """The node that bears the mark, if it runs the version that the head does."""
    here = next((node for node in nodes if node.labels.get(MARK_LABEL) == mark), None)
    if here is None:
        raise ClusterFailed(
            "this machine started as a node and the cluster does not know it; can the head reach it?"
        )
    head = next((node for node in nodes if node.head), here)
    theirs, ours = head.labels.get(ray_node.VERSION_LABEL), ray_node.program_version()
    if theirs not in (None, ours):
        raise ClusterFailed(f"the head runs version {theirs} of this program, this machine {ours}")
    return here


def _nodes(address: str, environment: Mapping[str, str]) -> list[_Node]:
    rows = probed(
        PROBE,
        address,
        seconds=PROBE_SECONDS,
        environment=environment,
        silent=f"the cluster at {address} took this machine and does not answer it",
        failing=f"the cluster at {address} does not answer",
    )
    return [_Node.model_validate(row) for row in rows]


def _drain(record: NodeRecord, seconds: int, environment: Mapping[str, str]) -> bool:
    """Ask the cluster to give this node no new work and to let it end; say whether it agrees."""
    words = [
        *ray_node.ray_words("drain-node"),
        f"--address={record.address}",
        f"--node-id={record.node_id}",
        "--reason=DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message=leaving",
        f"--deadline-remaining-seconds={seconds}",
    ]
    try:
        done = subprocess.run(
            words, capture_output=True, timeout=PROBE_SECONDS, env=dict(environment), check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
