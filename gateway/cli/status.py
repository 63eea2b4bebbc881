"""``status``: the deployed models and their state."""

from __future__ import annotations

from json import JSONDecodeError

from gateway.cli.tables import print_table
from gateway.cluster import Cluster
from gateway.control import Control
from gateway.deployments import GATEWAY_APPLICATION, application_name
from gateway.http_json import send
from gateway.problems import NotRunning
from gateway.registry import ModelEntry
from gateway.remotes import RemoteEntry
from gateway.serve_api import ServeDetails


def run(control: Control) -> None:
    """Print the table.

    Raises:
        NotRunning: there is no service.
    """
    cluster, deployed = control.running()
    details = cluster.api.details()
    states = _states(cluster)
    gateway = details.applications[GATEWAY_APPLICATION].status.lower()
    answers = "" if states is not None else ", does not answer"
    print(f"{cluster.url} (gateway: {gateway}{answers}; Ray: {cluster.api.dashboard})\n")
    rows = [_row(entry, details, states or {}) for entry in deployed.models]
    rows += [_remote_row(entry, states or {}) for entry in deployed.remotes]
    if rows:
        print_table(("MODEL", "STATE", "APPLICATION", "ALIASES", "FALLBACK", "FAMILY", "PATH"), rows)
    else:
        print("No model is deployed.")


def _states(cluster: Cluster) -> dict[str, str] | None:
    """The models' states as the gateway knows them; ``None`` where it does not answer."""
    try:
        return {
            row["model_id"]: row["state"] for row in send("GET", f"{cluster.url}/models").json()["models"]
        }
    except (NotRunning, JSONDecodeError, KeyError, TypeError):
        return None


def _row(entry: ModelEntry, details: ServeDetails, states: dict[str, str]) -> tuple[str, ...]:
    application = details.applications.get(application_name(entry.name))
    status = "missing" if application is None else application.status.lower()
    if application is not None and application.status == "DEPLOY_FAILED":
        status = f"{status}: {application.message.strip().rpartition(chr(10))[2]}"
    aliases = ", ".join(entry.aliases)
    return (
        entry.name,
        states.get(entry.name, "unknown"),
        status,
        aliases,
        entry.fallback or "",
        entry.card.family.value,
        entry.card.path,
    )


def _remote_row(entry: RemoteEntry, states: dict[str, str]) -> tuple[str, ...]:
    state = states.get(entry.name, "unknown")
    return entry.name, state, "", ", ".join(entry.aliases), "", "remote", entry.where
