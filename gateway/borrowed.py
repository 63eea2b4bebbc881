"""A Ray cluster that somebody else started (``RAY_ADDRESS``): found, used, never stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from engines.schema import Frozen
from gateway.cluster import Cluster
from gateway.ports import WILDCARDS
from gateway.probing import probed
from gateway.problems import ClusterFailed
from gateway.serve_api import ServeApi

ADDRESS_VARIABLE: Final = "RAY_ADDRESS"
CONNECT_SECONDS: Final = 60.0
DASHBOARD_VARIABLES: Final = ("RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS")

PROBE: Final = """
import json, logging, sys, ray
context = ray.init(sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
nodes = [node for node in ray.nodes() if node["Alive"]]
here = ray.util.get_node_ip_address()
print(json.dumps({
    "dashboard": context.dashboard_url,
    "same_machine": len(nodes) == 1 and nodes[0]["NodeManagerAddress"] == here,
}))
"""


class Probed(Frozen):
    """What a cluster says of itself. ``same_machine``: it is one node, and this command runs on it."""

    dashboard: str
    same_machine: bool = False


def find(address: str, *, host: str, port: int, environment: Mapping[str, str]) -> Cluster:
    """The cluster at ``address``: host and port of its GCS, ``auto``, or its dashboard's URL.

    ``host`` and ``port`` are where Serve is to listen if it does not run there yet.

    Raises:
        ClusterFailed, NotRunning: it does not answer, or has no dashboard.
    """
    probed = _from_variables(address, environment) or _probe(address, environment)
    api = ServeApi(_url(probed.dashboard), _token(environment))
    options = api.details().http_options
    if options is not None and options.host is not None and options.port is not None:
        host, port = options.host, options.port
    return Cluster(
        api,
        host,
        port,
        borrowed=True,
        runtime_env=_runtime_env(environment) if probed.same_machine else None,
        reached_at=urlsplit(api.dashboard).hostname if host in WILDCARDS else None,
    )


def _from_variables(address: str, environment: Mapping[str, str]) -> Probed | None:
    if address.startswith(("http://", "https://")):
        return Probed(dashboard=address)
    given = (environment.get(name) for name in DASHBOARD_VARIABLES)
    return next((Probed(dashboard=url) for url in given if url), None)


def _probe(address: str, environment: Mapping[str, str]) -> Probed:
    facts: dict[str, Any] = probed(
        PROBE,
        address,
        seconds=CONNECT_SECONDS,
        environment=environment,
        silent=f"no Ray cluster answers at {ADDRESS_VARIABLE}={address}",
        failing=f"cannot connect to the Ray cluster at {ADDRESS_VARIABLE}={address}",
    )
    if not facts["dashboard"]:
        raise ClusterFailed(f"the Ray cluster at {ADDRESS_VARIABLE}={address} runs without its dashboard")
    return Probed.model_validate(facts)


def _runtime_env(environment: Mapping[str, str]) -> dict[str, Any]:
    """Workers on this machine run in the environment that this command runs in."""
    runtime_env: dict[str, Any] = {"py_executable": sys.executable}
    if path := environment.get("PYTHONPATH"):
        runtime_env["env_vars"] = {"PYTHONPATH": path}
    return runtime_env


def _url(dashboard: str) -> str:
    return dashboard if "://" in dashboard else f"http://{dashboard}"


def _token(environment: Mapping[str, str]) -> str | None:
    """The token, looked for where Ray looks: variable, file, default file."""
    if token := environment.get("RAY_AUTH_TOKEN"):
        return token
    path = environment.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token")
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
