"""A Ray node of this machine: started in a Unix session of its own, by which it is found and ended.

``ray start`` in such a session survives the terminal; every process that it leaves behind stays in that
session. ``ray stop`` would end every Ray of the machine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psutil

from gateway.problems import ClusterFailed, Problem
from gateway.processes import end_session, identify, session_members
from gateway.state import ProcessId, StateFolder

START_SECONDS: Final = 90.0
VERSION_LABEL: Final = "kandinsky-gateway/version"
"""The label of a node that says which version of this program its workers run."""
DISTRIBUTION: Final = "kandinsky-gateway"
TOGETHER_VARIABLE: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Despite its name Ray looks at it everywhere: a node without it has its ports on 127.0.0.1."""
PRELOAD_VARIABLE: Final = "RAY_preload_python_modules"
PRELOADED: Final = "engines.preloading"


def command(*flags: str, labels: Mapping[str, str] = MappingProxyType({}), **options: object) -> list[str]:
    """The words of ``ray start``; an option that is ``None`` is left out."""
    marks = {VERSION_LABEL: program_version(), **labels}
    given = {
        # 0: the system picks. The defaults are fixed ranges, which a second Ray on the machine holds.
        "dashboard_agent_listen_port": 0,
        "min_worker_port": 0,
        "max_worker_port": 0,
        # It sets how many idle workers are kept; engines and gateway reserve no CPU.
        "num_cpus": 2,
        "labels": ",".join(f"{name}={value}" for name, value in marks.items()),
        **options,
    }
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    return [*ray_words("start"), "--disable-usage-stats", *flags, *words]


def ray_words(name: str) -> list[str]:
    """The words of a command of Ray's own command line, run by this interpreter."""
    # -P: nothing that lies in the working folder shadows a library.
    return [sys.executable, "-P", "-m", "ray.scripts.scripts", name]


def program_version() -> str:
    """The version of this program."""
    return version(DISTRIBUTION)


def environment_of(state: StateFolder, environment: Mapping[str, str], *, together: bool) -> dict[str, str]:
    """The environment of a node and of everything that it starts.

    Not ``together`` with other machines, Ray's ports are on 127.0.0.1, but for one of each replica of
    Serve's. Else all listen on every interface, hence the token.
    """
    state.token()
    return dict(environment) | {
        TOGETHER_VARIABLE: str(int(together)),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token_file),
        # Serve's proxy would believe X-Forwarded headers of this machine before the gateway, whose
        # setting `trusted_proxies` decides, has seen who sent them.
        "FORWARDED_ALLOW_IPS": "",
        # A killed proxy is missed for 28 s with Serve's own periods.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
        # Ray lets its workers yield to everything else on the machine (nice 15); engines are why it runs.
        "RAY_worker_niceness": "0",
        # To end the engine that fills the machine's memory, and no more than that: by itself Ray goes on to
        # the gateway and the proxy, and every client's connection with them.
        "RAY_max_kill_memory_buffer_bytes": "0",
        # It imports an engine's libraries in the workers that are marked for one, see `gateway.spares`.
        PRELOAD_VARIABLE: ",".join(filter(None, (environment.get(PRELOAD_VARIABLE), PRELOADED))),
    }


@contextmanager
def starting(
    words: list[str], *, log: Path, environment: Mapping[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``ray start``; what it has started is ended again if the context fails."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            # Not the folder of whoever happens to call: it may go away, and hold files of any name.
            cwd=folder,
            start_new_session=True,
        )
        try:
            yield process
        except BaseException:
            # An interrupt does not reach the other session.
            end_session(process.pid)
            raise


def programs_of(
    process: subprocess.Popen[bytes], programs: tuple[str, ...], *, log: Path
) -> tuple[ProcessId, ...]:
    """Wait until ``ray start`` has ended, and find the ``programs`` that it leaves behind.

    Raises:
        ClusterFailed: it failed, or one is not there, with the last lines of what Ray wrote.
    """
    try:
        code = process.wait(timeout=START_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise failure(log, f"did not start within {START_SECONDS:.0f} s") from error
    if code != 0:
        raise failure(log, f"did not start (exit code {code})")
    found = [each for each in session_members(process.pid) if _runs(each, programs)]
    if len(found) < len(programs):
        raise failure(log, "ended right after its start")
    return tuple(identify(each) for each in found)


def failure(log: Path, what: str) -> Problem:
    """The problem that Ray ``what``, with its last words."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    tail = "\n".join(line for line in lines if line.strip())[-1500:]
    return ClusterFailed(f"Ray {what}. Its last words, from {log}:\n{tail}")


def _runs(process: psutil.Process, programs: tuple[str, ...]) -> bool:
    try:
        # The programs are among the first words: interpreter, its options, script.
        return any(word.endswith(programs) for word in process.cmdline()[:3])
    except psutil.Error:
        return False
