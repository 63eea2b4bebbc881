"""The Ray cluster of this state folder: started, found again and ended, and no other one touched.

``ray start --head`` in a Unix session of its own survives the terminal; every process that it leaves
behind stays in that session, by which they are found again. ``ray stop`` would end every Ray of the
machine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psutil

from gateway.http_json import send
from gateway.ports import free_port, is_free, reachable_host, require_free
from gateway.problems import ClusterFailed, NotRunning, Problem
from gateway.processes import alive, end_session, identify, session_members
from gateway.serve_api import ServeApi
from gateway.state import ClusterRecord, StateFolder

START_SECONDS: Final = 90.0
LEAVE_SECONDS: Final = 10.0
"""How long workers may take to follow their raylet."""
GCS_PORT: Final = 6379
DASHBOARD_PORT: Final = 8265
HEAD_PROGRAMS: Final = ("gcs_server", "raylet", "dashboard.py")
"""What a cluster cannot be without; found in the command lines of its processes."""


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


def start(state: StateFolder, *, host: str, port: int, environment: Mapping[str, str]) -> Cluster:
    """Start a cluster, after clearing away what a broken one has left.

    What was deployed when the last one was killed comes back by itself, out of Ray's own store.

    Raises:
        PortTaken: another program listens on ``host:port``.
        ClusterFailed: with the last lines of what Ray wrote.
    """
    previous = state.cluster()
    if previous is not None:
        _end(previous)
        _wait_for_workers(previous)
    if previous is None or not previous.serving:
        shutil.rmtree(state.gcs, ignore_errors=True)
    require_free(host, port)
    state.renew_temporary()
    dashboard_port = free_port(DASHBOARD_PORT)
    command = _command(state, dashboard_port)
    with state.start_log.open("wb") as log:
        starting = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(state, environment),
            # Not the folder of whoever happens to call: it may go away, and hold files of any name.
            cwd=state.root,
            start_new_session=True,
        )
        try:
            record = _wait(state, starting, dashboard_port, host, port)
            record = record.model_copy(update={"serving": previous is not None and previous.serving})
        except BaseException:
            # An interrupt does not reach the other session.
            end_session(starting.pid)
            raise
    state.record_cluster(record)
    return _cluster(state, record)


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
    return Cluster(ServeApi(record.dashboard, state.token()), record.host, record.port)


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


def _command(state: StateFolder, dashboard_port: int) -> list[str]:
    options = {
        "port": free_port(GCS_PORT),
        "ray-client-server-port": free_port(),
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard_port,
        # 0: the system picks. The defaults are fixed ranges, which a second Ray on the machine holds.
        "dashboard-agent-listen-port": 0,
        "min-worker-port": 0,
        "max-worker-port": 0,
        # It sets how many idle workers are kept; engines and gateway reserve no CPU.
        "num-cpus": 2,
        "temp-dir": state.temporary,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    return [
        sys.executable,
        "-P",
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--disable-usage-stats",
        *given,
    ]


def _environment(state: StateFolder, environment: Mapping[str, str]) -> dict[str, str]:
    """Ray's inner ports listen on every interface, hence the token; a killed proxy is missed for 28 s
    with Serve's own health check periods."""
    state.token()
    return dict(environment) | {
        # Serve's proxy would believe X-Forwarded headers of this machine before the gateway, whose
        # setting `trusted_proxies` decides, has seen who sent them.
        "FORWARDED_ALLOW_IPS": "",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token_file),
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(state.gcs),
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
        # Ray lets its workers yield to everything else on the machine (nice 15); engines are why it runs.
        "RAY_worker_niceness": "0",
    }


def _wait(
    state: StateFolder, starting: subprocess.Popen[bytes], dashboard_port: int, host: str, port: int
) -> ClusterRecord:
    deadline = time.monotonic() + START_SECONDS
    try:
        code = starting.wait(timeout=START_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise _failure(state, f"did not start within {START_SECONDS:.0f} s") from error
    if code != 0:
        raise _failure(state, f"did not start (exit code {code})")
    head = [process for process in session_members(starting.pid) if _is_head(process)]
    if len(head) < len(HEAD_PROGRAMS):
        raise _failure(state, "ended right after its start")
    dashboard = f"http://127.0.0.1:{dashboard_port}"
    _wait_for_dashboard(state, dashboard, deadline)
    return ClusterRecord(
        session=starting.pid,
        head=tuple(identify(process) for process in head),
        dashboard=dashboard,
        temporary=str(state.temporary),
        host=host,
        port=port,
    )


def _is_head(process: psutil.Process) -> bool:
    try:
        # The programs are among the first words: interpreter, its options, script.
        return any(word.endswith(HEAD_PROGRAMS) for word in process.cmdline()[:3])
    except psutil.Error:
        return False


def _wait_for_dashboard(state: StateFolder, dashboard: str, deadline: float) -> None:
    while True:
        try:
            answer = send("GET", f"{dashboard}/api/ray/version", token=state.token())
            if answer.status == 200:
                return
            reason = f"{answer.status} {answer.text}"
        except NotRunning as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise _failure(state, f"has no working dashboard: {reason}")
        time.sleep(0.1)


def _failure(state: StateFolder, what: str) -> Problem:
    try:
        lines = state.start_log.read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    tail = "\n".join(line for line in lines if line.strip())[-1500:]
    return ClusterFailed(f"Ray {what}. Its last words, from {state.start_log}:\n{tail}")
