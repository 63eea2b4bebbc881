"""Questions to a Ray cluster from outside: asked by a program in a process of its own, because connecting
leaves threads and signal handlers behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from gateway.problems import ClusterFailed


def probed(
    program: str, address: str, *, seconds: float, environment: Mapping[str, str], silent: str, failing: str
) -> Any:
    """What ``program``, given the cluster's ``address``, prints as JSON on its last line.

    Raises:
        ClusterFailed: in the words of ``silent`` where nothing comes within ``seconds``; in those of
            ``failing``, and the program's last, where it fails.
    """
    # -P: nothing that lies in the working folder shadows a library.
    command = [sys.executable, "-P", "-c", program, address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=dict(environment), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterFailed(silent) from error
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ClusterFailed(f"{failing}: {last}")
    return json.loads(done.stdout.strip().rpartition("\n")[2])
