"""Waiting until what was deployed really answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from json import JSONDecodeError
from typing import Final

from gateway.cluster import Cluster
from gateway.deployments import application_name
from gateway.http_json import send
from gateway.problems import DeployFailed, NotRunning
from gateway.serve_api import Application, ServeDetails

DEPLOY_SECONDS: Final = 120.0
"""How long what is deployed may take to come up, beside what each application adds."""
APPLICATION_SECONDS: Final = 10.0
"""What each application of the cluster adds: Serve imports the program anew for every one that it builds."""
POLL_SECONDS: Final = 0.1
ANSWER_SECONDS: Final = 10.0

Finding = tuple[str | None, int]
"""Why it is not there yet (``None``: it is), and how many applications the cluster has to come up with."""


def patience(applications: int) -> float:
    """How many seconds a cluster with so many applications may take for a change."""
    return DEPLOY_SECONDS + APPLICATION_SECONDS * applications


def wait_for_applications(cluster: Cluster, names: Iterable[str]) -> None:
    """Wait until Serve says of every application that it runs.

    Raises:
        DeployFailed: one failed, with Serve's message, or took too long.
    """
    wanted = tuple(names)

    def ready() -> Finding:
        details = cluster.api.details()
        return _unready(details, wanted), max(len(wanted), len(details.applications))

    _until(ready)


def wait_for_gateway(cluster: Cluster, models: Iterable[str]) -> None:
    """Wait until the gateway answers over HTTP and lists exactly these models.

    Raises:
        DeployFailed: it did not in time.
    """
    wanted = set(models)

    def ready() -> Finding:
        listed = listed_models(cluster.url)
        if listed is None:
            return f"the gateway at {cluster.url} does not answer", len(wanted)
        same = listed == wanted
        reason = None if same else f"the gateway lists {sorted(listed)}, not {sorted(wanted)}"
        return reason, len(wanted)

    _until(ready)


def wait_for_absence(cluster: Cluster, model: str) -> None:
    """Wait until the application of a model has gone.

    Raises:
        DeployFailed: it is still there.
    """

    def ready() -> Finding:
        there = cluster.api.details().applications
        reason = f"{model} is still being removed" if application_name(model) in there else None
        return reason, len(there)

    _until(ready)


def listed_models(url: str) -> set[str] | None:
    """The names of the models that a gateway serves, or ``None`` where no gateway answers."""
    try:
        if send("GET", f"{url}/health", timeout=ANSWER_SECONDS).status != 200:
            return None
        answer = send("GET", f"{url}/models", timeout=ANSWER_SECONDS)
        return {row["model_id"] for row in answer.json()["models"]} if answer.status == 200 else None
    except (NotRunning, JSONDecodeError, KeyError, TypeError):
        return None


def _unready(details: ServeDetails, names: Iterable[str]) -> str | None:
    for name in names:
        application = details.applications.get(name)
        if application is None:
            return f"the application {name} has not appeared"
        if application.status == "DEPLOY_FAILED":
            raise DeployFailed(f"{name} could not be deployed: {_reason(application)}")
        if application.status != "RUNNING":
            return f"the application {name} is {application.status}: {_reason(application)}"
    return None


def _reason(application: Application) -> str:
    """What Serve says of an application and its deployments; of a traceback the last line."""
    said = [application.message, *(deployment.message for deployment in application.deployments.values())]
    texts = (text.strip() for text in said)
    return " ".join(text.rpartition("\n")[2] if "Traceback" in text else text for text in texts if text)


def _until(look: Callable[[], Finding]) -> None:
    """Ask until there is no reason left; a cluster that does not answer for a moment is asked again."""
    began = time.monotonic()
    reason: str | None = None
    most = 0
    while True:
        try:
            reason, applications = look()
            most = max(most, applications)
        except NotRunning as error:
            reason = str(error)
        if reason is None:
            return
        if time.monotonic() - began > patience(most):
            raise DeployFailed(f"it did not come up within {patience(most):.0f} s: {reason}")
        time.sleep(POLL_SECONDS)
