"""What is deployed, as Ray Serve's declarative configuration.

One application for the gateway, whose ``user_config`` lists the models, and one for each model. A
change is: read, edit, put. Serve leaves an application alone whose configuration is the same, and
hands a changed ``user_config`` to the running gateway. Applications of others that were declared in
the same cluster are put back as they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from gateway.cluster import Cluster
from gateway.problems import DeployFailed, Problem
from gateway.registry import ANY, Entry, ModelEntry
from gateway.remotes import RemoteEntry
from gateway.serve_api import Application, ServeDetails
from gateway.settings import EVERY_NODE, Settings
from gateway.state import Deployed

GATEWAY_APPLICATION: Final = "gateway"
GATEWAY_DEPLOYMENT: Final = "Gateway"
GATEWAY_IMPORT: Final = "gateway.ingress:build_app"
CONDUCTOR_DEPLOYMENT: Final = "Conductor"
ENGINE_IMPORT: Final = "engines.deployment:build_app"
FORMER_ENGINE_IMPORT: Final = "engines.replica:build_app"
"""Where it was before: what runs from there is ours as well, and goes to its new place by the next change."""

HEAD_PROXY: Final = "HeadOnly"
EVERY_PROXY: Final = "EveryNode"
"""Serve's words for where its HTTP proxies are."""


def application_name(model: str) -> str:
    """The Serve application that runs a model."""
    return f"model-{model}"


def read(details: ServeDetails) -> Deployed | None:
    """What a cluster serves for us, or ``None`` where there is no gateway in it.

    Raises:
        Problem: it was deployed by a version that this one does not understand.
    """
    application = details.applications.get(GATEWAY_APPLICATION)
    if application is None or not _is_ours(application) or application.status == "DELETING":
        return None
    config = application.deployed_app_config or {}
    try:
        return Deployed.model_validate(config["deployments"][0]["user_config"])
    except (KeyError, IndexError, ValidationError) as error:
        raise Problem("what is deployed was deployed by another version; stop it first") from error


def compose(
    deployed: Deployed,
    details: ServeDetails,
    cluster: Cluster,
    *,
    engines: Iterable[ModelEntry] | None = None,
) -> dict[str, Any]:
    """The configuration that makes a cluster serve exactly ``deployed``, beside what is not ours.

    ``engines`` are the models that have an application, where they are not those that are listed: a
    model is listed when its application is there, because the gateway asks Serve for it at once.

    Raises:
        DeployFailed: somebody else's application has a name that is needed.
    """
    running = deployed.models if engines is None else engines
    ours = [_gateway(deployed, on_head=not cluster.borrowed), *(_engine(entry) for entry in running)]
    if cluster.runtime_env is not None:
        ours = [application | {"runtime_env": cluster.runtime_env} for application in ours]
    others = foreign(details)
    if taken := {application["name"] for application in ours} & {other["name"] for other in others}:
        raise DeployFailed(f"the cluster has an application of somebody else's called {min(taken)!r}")
    return _config([*ours, *others], cluster, proxies=proxy_location(deployed.settings))


def proxy_location(settings: Settings) -> str:
    """Where Serve's HTTP proxies are to be; Serve keeps that for life."""
    return EVERY_PROXY if settings.gateways == EVERY_NODE else HEAD_PROXY


def compose_none(details: ServeDetails, cluster: Cluster) -> dict[str, Any]:
    """The configuration without anything of ours."""
    return _config(foreign(details), cluster, proxies=details.proxy_location or HEAD_PROXY)


def foreign(details: ServeDetails) -> list[dict[str, Any]]:
    """The declared applications that are not ours, as they were declared."""
    return [
        application.deployed_app_config
        for application in details.applications.values()
        if application.source == "declarative"
        and application.deployed_app_config is not None
        and not _is_ours(application)
    ]


def with_model(deployed: Deployed, entry: Entry) -> Deployed:
    """Add a model, or replace the one of its name; an alias belongs to whom it was given last.

    Raises:
        Problem: an alias is another model's name.
    """
    names = {other.name for other in deployed.entries} - {entry.name}
    if clash := names & set(entry.aliases):
        raise Problem(f"{min(clash)!r} is the name of a deployed model and cannot be an alias too")
    taken = {entry.name, *entry.aliases}
    entries = [
        entry if other.name == entry.name else _without_aliases(other, taken) for other in deployed.entries
    ]
    if entry not in entries:
        entries.append(entry)
    return _with_entries(deployed, entries)


def without_model(deployed: Deployed, name: str) -> Deployed:
    """Take a model away.

    Raises:
        Problem: there is none of this name; the text lists those there are.
    """
    if deployed.find(name) is None:
        names = ", ".join(entry.name for entry in deployed.entries) or "none"
        raise Problem(f"no model called {name!r} is deployed; deployed: {names}")
    return _with_entries(deployed, [entry for entry in deployed.entries if entry.name != name])


def with_policy(deployed: Deployed) -> Deployed:
    """Hand the settings that concern engines to every model's engine."""
    allowed = deployed.settings.allow_pickles
    models = tuple(
        entry
        if entry.options.allow_pickles == allowed
        else entry.model_copy(update={"options": entry.options.model_copy(update={"allow_pickles": allowed})})
        for entry in deployed.models
    )
    return deployed.model_copy(update={"models": models})


def has_default(deployed: Deployed) -> bool:
    """Whether a model answers to every name."""
    return any(ANY in entry.aliases for entry in deployed.entries)


def _with_entries(deployed: Deployed, entries: Iterable[Entry]) -> Deployed:
    kept = tuple(entries)
    models = tuple(entry for entry in kept if isinstance(entry, ModelEntry))
    remotes = tuple(entry for entry in kept if isinstance(entry, RemoteEntry))
    return deployed.model_copy(update={"models": models, "remotes": remotes})


def _without_aliases(entry: Entry, taken: set[str]) -> Entry:
    kept = tuple(alias for alias in entry.aliases if alias not in taken)
    return entry if kept == entry.aliases else entry.model_copy(update={"aliases": kept})


def _is_ours(application: Application) -> bool:
    config = application.deployed_app_config or {}
    return config.get("import_path") in (GATEWAY_IMPORT, ENGINE_IMPORT, FORMER_ENGINE_IMPORT)


def _config(applications: list[dict[str, Any]], cluster: Cluster, *, proxies: str) -> dict[str, Any]:
    return {
        "proxy_location": proxies,
        "http_options": {"host": cluster.host, "port": cluster.port},
        "applications": applications,
    }


def _gateway(deployed: Deployed, *, on_head: bool) -> dict[str, Any]:
    settings = deployed.settings
    parts = [{"name": GATEWAY_DEPLOYMENT, "user_config": deployed.model_dump(mode="json")}]
    if settings.gateways != 1:
        parts.append({"name": CONDUCTOR_DEPLOYMENT, "user_config": settings.model_dump(mode="json")})
    return {
        "name": GATEWAY_APPLICATION,
        "route_prefix": "/",
        "import_path": GATEWAY_IMPORT,
        # The state folder is on the head's machine; a borrowed cluster has none.
        "args": {"gateways": settings.gateways, "on_head": on_head and settings.gateways != EVERY_NODE},
        "deployments": parts,
    }


def _engine(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": application_name(entry.name),
        # Without a route: an engine is reached through the gateway alone.
        "route_prefix": None,
        "import_path": ENGINE_IMPORT,
        "args": {
            "card": entry.card.model_dump(mode="json"),
            "options": entry.options.model_dump(mode="json"),
        },
    }
