"""``export``: what is deployed, as the configuration that Ray Serve reads, for clusters that others run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from gateway import deployments
from gateway.cluster import Cluster
from gateway.control import Control
from gateway.problems import Problem
from gateway.serve_api import ServeApi, ServeDetails
from gateway.state import Deployed

PORT: Final = 8000
RAY_SERVICE: Final = "RayService"


def run(control: Control, *, into: Path | None) -> None:
    """Print the configuration, or the RayService of a file with it put in.

    Raises:
        NotRunning: there is no service.
        Problem: the file is no RayService.
    """
    _, deployed = control.running()
    config = config_of(deployed)
    if into is None:
        yaml.safe_dump(config, sys.stdout, sort_keys=False, allow_unicode=True)
        return
    yaml.safe_dump_all(_with_config(into, config), sys.stdout, sort_keys=False, allow_unicode=True)


def config_of(deployed: Deployed) -> dict[str, Any]:
    """Serve's configuration for any cluster: without a state folder, and open to the cluster's network."""
    settings = deployed.settings.model_copy(update={"state_folder": None})
    cluster = Cluster(ServeApi("", None), "0.0.0.0", PORT, borrowed=True)
    return deployments.compose(deployed.model_copy(update={"settings": settings}), ServeDetails(), cluster)


def _with_config(file: Path, config: dict[str, Any]) -> list[Any]:
    try:
        documents = list(yaml.safe_load_all(file.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise Problem(f"{file} cannot be read: {error}") from error
    services = [each for each in documents if isinstance(each, dict) and each.get("kind") == RAY_SERVICE]
    if len(services) != 1:
        raise Problem(f"{file} holds {len(services)} RayServices, not one")
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    services[0].setdefault("spec", {})["serveConfigV2"] = text
    return documents
