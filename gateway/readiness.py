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
POLL_SECONDS: Final = 0.1
ANSWER_SECONDS: Final = 10.0


def wait_for_applications(cluster: Cluster, names: Iterable[str]) -> None:
    """Wait until Serve says of every application that it runs.

    Raises:
        DeployFailed: one failed, with Serve's message, or took too long.
    """
    wanted = tuple(names)

    def ready() -> str | None:
        return _unready(cluster.api.details(), wanted)

    _until(ready, DEPLOY_SECONDS)


def wait_for_gateway(cluster: Cluster, models: Iterable[str]) -> None:
    """Wait until the gateway answers over HTTP and lists exactly these models.

    Raises:
        DeployFailed: it did not in time.
    """
    wanted = set(models)

    def ready() -> str | None:
        listed = listed_models(cluster.url)
        if listed is None:
            return f"the gateway at {cluster.url} does not answer"
        return None if listed == wanted else f"the gateway lists {sorted(listed)}, not {sorted(wanted)}"

    _until(ready, DEPLOY_SECONDS)


def wait_for_absence(cluster: Cluster, model: str) -> None:
    """Wait until the application of a model has gone.

    Raises:
        DeployFailed: it is still there.
    """

    def ready() -> str | None:
        there = application_name(model) in cluster.api.details().applications
        return f"{model} is still being removed" if there else None

    _until(ready, DEPLOY_SECONDS)


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


def _until(unready: Callable[[], str | None], seconds: float) -> None:
    """Ask until there is no reason left; a cluster that does not answer for a moment is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            reason = unready()
        except NotRunning as error:
            reason = str(error)
        if reason is None:
            return
        if time.monotonic() > deadline:
            raise DeployFailed(f"it did not come up within {seconds:.0f} s: {reason}")
        time.sleep(POLL_SECONDS)
