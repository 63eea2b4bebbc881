"""The Ray cluster of this state folder: started, found again and ended, and no other one touched."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway import ray_node
from gateway.http_json import send
from gateway.ports import free_port, is_free, reachable_host, require_free
from gateway.problems import ClusterFailed, NotRunning
from gateway.processes import alive, end_session
from gateway.serve_api import ServeApi
from gateway.state import ClusterRecord, StateFolder

LEAVE_SECONDS: Final = 10.0
"""How long workers may take to follow their raylet."""
GCS_PORT: Final = 6379
DASHBOARD_PORT: Final = 8265
HEAD_PROGRAMS: Final = ("gcs_server", "raylet", "dashboard.py")
"""What a cluster cannot be without; found in the command lines of its processes."""

T = TypeVar("T")


@dataclass(frozen=True)
class HeadPorts:
    """Where the head's programs listen."""

    gcs: int = GCS_PORT
    dashboard: int = DASHBOARD_PORT

    def free(self) -> HeadPorts:
        """These, with others in the place of those that a program listens on."""
        return HeadPorts(free_port(self.gcs), free_port(self.dashboard))


@dataclass(frozen=True)
class Cluster:
    """A cluster that can be talked to. ``host`` and ``port`` are where its Serve proxy listens.

    ``borrowed`` is one that somebody else started: it is never stopped from here. ``runtime_env`` is
    what its workers need to find this program, ``None`` where they have it.
    """

    api: ServeApi
    host: str
    port: int
    borrowed: bool = False
    runtime_env: dict[str, Any] | None = None
    reached_at: str | None = None
    """The host to call, where it is not the one that the proxy listens on."""
    joined_at: str | None = None
    """Host and port at which other machines join; ``None`` where none can."""
    token_file: Path | None = None
    """What other machines need to join."""

    @property
    def url(self) -> str:
        """Where the gateway answers, as seen from this machine."""
        return f"http://{reachable_host(self.reached_at or self.host)}:{self.port}"


def find(state: StateFolder) -> Cluster | None:
    """The running cluster of this state folder, or ``None``."""
    record = state.cluster()
    if record is None or not all(alive(process) for process in record.head):
        return None
    return _cluster(state, record)


def start(
    state: StateFolder,
    *,
    host: str,
    port: int,
    environment: Mapping[str, str],
    cluster_host: str | None = None,
) -> Cluster:
    """Start a cluster, after clearing away what a broken one has left.

    What was deployed when the last one was killed comes back by itself, out of Ray's own store. With
    ``cluster_host``, an address of this machine, other machines can join.

    Raises:
        PortTaken: another program listens on ``host:port``.
        ClusterFailed: with the last lines of what Ray wrote.
    """
    previous = state.cluster()
    if previous is not None:
        _end(previous)
        _wait_for_workers(previous)
    require_free(host, port)
    serving = previous is not None and previous.serving
    variables = _environment(state, environment, together=cluster_host is not None)

    def attempt(ports: HeadPorts) -> ClusterRecord:
        if not serving:
            shutil.rmtree(state.gcs, ignore_errors=True)
        state.renew_temporary()
        words = _command(state, ports, cluster_host=cluster_host)
        log = state.start_log
        with ray_node.starting(words, log=log, environment=variables, folder=state.root) as starting:
            head = ray_node.programs_of(starting, HEAD_PROGRAMS, log=log)
            dashboard = f"http://127.0.0.1:{ports.dashboard}"
            _wait_for_dashboard(state, dashboard)
        return ClusterRecord(
            session=starting.pid,
            head=head,
            dashboard=dashboard,
            temporary=str(state.temporary),
            host=host,
            port=port,
            gcs_port=ports.gcs,
            cluster_host=cluster_host,
            serving=serving,
        )

    record = on_free_ports(attempt, HeadPorts(gcs=previous.gcs_port if previous else GCS_PORT))
    state.record_cluster(record)
    return _cluster(state, record)


def on_free_ports(attempt: Callable[[HeadPorts], T], preferred: HeadPorts) -> T:
    """Start something on ports that are free; once more, on others, where another program was quicker.

    Raises:
        ClusterFailed: what ``attempt`` raises when it has ended all that it began.
    """
    ports = preferred.free()
    try:
        return attempt(ports)
    except ClusterFailed:
        others = ports.free()
        if others == ports:
            raise
    return attempt(others)


def stop(state: StateFolder, *, forget: bool) -> bool:
    """End the cluster's processes; say whether there were any.

    ``forget`` also removes Ray's own store, so that the next cluster starts empty.
    """
    record = state.cluster()
    if record is None:
        return False
    ended = _end(record)
    if forget:
        shutil.rmtree(state.gcs, ignore_errors=True)
        state.record_cluster(None)
    shutil.rmtree(state.temporary, ignore_errors=True)
    return ended


def _cluster(state: StateFolder, record: ClusterRecord) -> Cluster:
    api = ServeApi(record.dashboard, state.token())
    host = record.cluster_host
    joined_at = None if host is None else f"{host}:{record.gcs_port}"
    return Cluster(api, record.host, record.port, joined_at=joined_at, token_file=state.token_file)


def _end(record: ClusterRecord) -> bool:
    """End the cluster's processes. Without any of its head's the session's number may be another's by
    now: workers end by themselves when their raylet has gone."""
    return any(alive(process) for process in record.head) and end_session(record.session)


def _wait_for_workers(record: ClusterRecord) -> None:
    """A proxy that lost its raylet holds its port for another moment."""
    deadline = time.monotonic() + LEAVE_SECONDS
    # An address that this machine no longer has holds nobody up.
    with suppress(OSError):
        while time.monotonic() < deadline and not is_free(record.host, record.port):
            time.sleep(0.1)


def _command(state: StateFolder, ports: HeadPorts, *, cluster_host: str | None) -> list[str]:
    return ray_node.command(
        "--head",
        node_ip_address=cluster_host,
        port=ports.gcs,
        ray_client_server_port=free_port(),
        dashboard_host="127.0.0.1",
        dashboard_port=ports.dashboard,
        temp_dir=state.temporary,
    )


def _environment(state: StateFolder, environment: Mapping[str, str], *, together: bool) -> dict[str, str]:
    return ray_node.environment_of(state, environment, together=together) | {
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(state.gcs),
    }


def _wait_for_dashboard(state: StateFolder, dashboard: str) -> None:
    deadline = time.monotonic() + ray_node.START_SECONDS
    while True:
        try:
            answer = send("GET", f"{dashboard}/api/ray/version", token=state.token())
            if answer.status == 200:
                return
            reason = f"{answer.status} {answer.text}"
        except NotRunning as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise ray_node.failure(state.start_log, f"has no working dashboard: {reason}")
        time.sleep(0.1)
