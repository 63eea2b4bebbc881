"""The cluster of a state folder, with Ray itself: started once, found again, brought back, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from engines.detection import demo_card
from engines.discovery import discover
from gateway import cluster
from gateway.cli.examples import examples
from gateway.cluster import HeadPorts
from gateway.control import Control
from gateway.deployments import application_name
from gateway.http_json import send
from gateway.order import Order
from gateway.ports import free_port
from gateway.problems import ClusterFailed, NotRunning, PortTaken, Problem
from gateway.processes import alive, session_members
from gateway.readiness import listed_models
from gateway.registry import ModelEntry
from gateway.state import ClusterRecord, Deployed, StateFolder

DEMO = "demo"


class Silence:
    """A report that nobody reads."""

    @contextmanager
    def step(self, _text: str) -> Iterator[None]:
        yield

    @contextmanager
    def transfer(self, _text: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda _done, _total: None

    def say(self, _text: str) -> None:
        pass


def control(state: StateFolder, **variables: str) -> Control:
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "HOST")}
    return Control(state, environment | variables, Silence())


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[StateFolder]:
    """A state folder whose service, the demo model in it, was stopped on purpose."""
    folder = StateFolder(tmp_path_factory.mktemp("state"))
    folder.prepare()
    card = demo_card()
    folder.remember(Deployed(models=(ModelEntry(card=card, schema_=discover(card), created=1),)))
    yield folder
    control(folder, PORT=str(port)).stop()


def started(state: StateFolder, port: int) -> ClusterRecord:
    """The service runs; starting it again changes nothing."""
    control(state, PORT=str(port)).start()
    record = state.cluster()
    assert record is not None
    return record


def test_the_next_start_brings_back_what_was_deployed(state: StateFolder, port: int) -> None:
    started(state, port)
    assert listed_models(f"http://127.0.0.1:{port}") == {DEMO}


def test_a_second_start_finds_the_running_cluster(state: StateFolder, port: int) -> None:
    assert started(state, port) == started(state, port)


def test_the_dashboard_refuses_who_has_no_token(state: StateFolder, port: int) -> None:
    assert send("GET", f"{started(state, port).dashboard}/api/serve/applications/").status == 401


def test_rays_own_ports_are_not_open_to_other_machines(state: StateFolder, port: int) -> None:
    record = started(state, port)
    titles = {process.pid: " ".join(process.cmdline()) for process in session_members(record.session)}
    # A replica of Serve's has one on every interface, which wants the token.
    ours = {pid for pid, title in titles.items() if "ServeReplica" not in title}
    listening = [
        connection.laddr[0]
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid in ours
    ]
    assert len(listening) > len(record.head)
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_other_machines_cannot_be_let_in_while_it_runs(state: StateFolder, port: int) -> None:
    started(state, port)
    with pytest.raises(Problem, match="other machines can join at no address; stop the service first"):
        control(state, PORT=str(port), CLUSTER_HOST="127.0.0.2").start()


def test_another_port_is_refused_while_the_service_runs(state: StateFolder, port: int) -> None:
    started(state, port)
    with pytest.raises(Problem, match=f"already listens on 127.0.0.1:{port}; stop it first"):
        control(state, PORT=str(free_port())).start()


def test_the_printed_examples_work_when_pasted(state: StateFolder, port: int, tmp_path: Path) -> None:
    started(state, port)
    target, deployed = control(state).running()
    text = examples(target, deployed.models[0])
    curl = text[text.index("curl -sS") : text.index("A picture with the openai SDK")]
    sdk = text[text.index("SDK:") + len("SDK:") : text.index("Its own parameters")]
    for snippet in (curl, sdk):
        subprocess.run(["bash", "-e", "-o", "pipefail", "-c", snippet], cwd=tmp_path, check=True)
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
        (tmp_path / "picture.png").unlink()


def test_a_model_comes_and_goes_without_a_restart_of_the_gateway(state: StateFolder, port: int) -> None:
    started(state, port)
    service = control(state)
    target, _ = service.running()
    service.undeploy(DEMO)
    assert listed_models(target.url) == set()
    service.deploy(Order())
    assert listed_models(target.url) == {DEMO}
    assert target.api.details().applications[application_name(DEMO)].status == "RUNNING"


def test_what_was_killed_comes_back_with_its_models(state: StateFolder, port: int) -> None:
    record = started(state, port)
    kill(record)
    with pytest.raises(NotRunning):
        control(state).running()
    again = started(state, port)
    assert again.session != record.session
    assert listed_models(f"http://127.0.0.1:{port}") == {DEMO}


def test_stopping_leaves_no_process_and_no_temporary_file(state: StateFolder, port: int) -> None:
    record = started(state, port)
    assert control(state).stop()
    assert session_members(record.session) == []
    assert not state.temporary.exists()
    assert cluster.find(state) is None
    assert state.remembered().find(DEMO) is not None


def test_a_taken_port_is_refused_with_the_name_of_the_program(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with pytest.raises(
            PortTaken, match=rf"port {port} on 127.0.0.1 is taken by .* \(pid {os.getpid()}\)"
        ):
            control(state, PORT=port).start()
    assert state.cluster() is None


def kill(record: ClusterRecord) -> None:
    """What a power cut does."""
    for process in session_members(record.session):
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(alive(process) for process in record.head):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_start_is_repeated_on_other_ports_where_another_program_was_quicker() -> None:
    tried: list[HeadPorts] = []
    with ExitStack() as others:

        def attempt(ports: HeadPorts) -> HeadPorts:
            tried.append(ports)
            if len(tried) == 1:
                others.enter_context(socket.create_server(("127.0.0.1", ports.dashboard)))
                raise ClusterFailed("no dashboard")
            return ports

        ports = cluster.on_free_ports(attempt, HeadPorts(free_port(), free_port()))
    assert ports == tried[1]
    assert (ports.gcs, ports.dashboard != tried[0].dashboard) == (tried[0].gcs, True)


def test_a_start_that_fails_for_another_reason_is_not_repeated() -> None:
    tried: list[HeadPorts] = []

    def attempt(ports: HeadPorts) -> None:
        tried.append(ports)
        raise ClusterFailed("no memory")

    with pytest.raises(ClusterFailed, match="no memory"):
        cluster.on_free_ports(attempt, HeadPorts(free_port(), free_port()))
    assert len(tried) == 1
