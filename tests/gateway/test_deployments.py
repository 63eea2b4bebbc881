"""What is deployed, as Serve's configuration: composed, read back, edited."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve.schema import ServeDeploySchema

from engines.replica import EngineArgs
from gateway import ingress
from gateway.cluster import Cluster
from gateway.deployments import (
    FORMER_ENGINE_IMPORT,
    GATEWAY_APPLICATION,
    GATEWAY_DEPLOYMENT,
    compose,
    compose_none,
    read,
    with_model,
    without_model,
)
from gateway.problems import DeployFailed, Problem
from gateway.serve_api import ServeApi, ServeDetails
from gateway.service import GatewayConfig
from gateway.state import Deployed
from tests.gateway.entries import entry

CLUSTER = Cluster(ServeApi("http://127.0.0.1:1", None), "127.0.0.1", 8000)
EMPTY = ServeDetails()
FOREIGN = {"name": "theirs", "route_prefix": "/theirs", "import_path": "their.module:app"}


def details(*applications: dict[str, Any]) -> ServeDetails:
    """Serve's answer when these applications run."""
    rows = {
        application["name"]: {
            "status": "RUNNING",
            "source": "declarative",
            "deployed_app_config": application,
        }
        for application in applications
    }
    return ServeDetails.model_validate({"applications": rows})


def by_name(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {application["name"]: application for application in config["applications"]}


def test_serve_accepts_the_configuration() -> None:
    config = compose(Deployed(models=(entry("k3"), entry("sd"))), EMPTY, CLUSTER)
    parsed = ServeDeploySchema.model_validate(config)
    assert [application.name for application in parsed.applications] == ["gateway", "model-k3", "model-sd"]
    assert parsed.applications[1].route_prefix is None


def test_the_gateway_understands_its_user_config() -> None:
    deployed = Deployed(models=(entry("k3", aliases=("dall-e-3",)),))
    [deployment] = by_name(compose(deployed, EMPTY, CLUSTER))["gateway"]["deployments"]
    assert GatewayConfig.model_validate(deployment["user_config"]).models == deployed.models


def test_an_engine_understands_its_arguments() -> None:
    k3 = entry("k3")
    arguments = by_name(compose(Deployed(models=(k3,)), EMPTY, CLUSTER))["model-k3"]["args"]
    assert EngineArgs.model_validate(arguments) == EngineArgs(card=k3.card, options=k3.options)


def test_the_names_are_those_that_gateway_and_engines_use() -> None:
    assert (GATEWAY_APPLICATION, GATEWAY_DEPLOYMENT) == (ingress.APPLICATION, ingress.DEPLOYMENT)


def test_what_was_composed_is_read_back() -> None:
    deployed = Deployed(models=(entry("k3", aliases=("*",)), entry("sd")))
    assert read(details(*compose(deployed, EMPTY, CLUSTER)["applications"])) == deployed


def test_without_a_gateway_nothing_is_deployed() -> None:
    assert read(details(FOREIGN)) is None


def test_a_model_that_did_not_change_keeps_its_configuration() -> None:
    before = compose(Deployed(models=(entry("k3"),)), EMPTY, CLUSTER)
    after = compose(Deployed(models=(entry("k3"), entry("sd"))), EMPTY, CLUSTER)
    assert by_name(before)["model-k3"] == by_name(after)["model-k3"]


def test_applications_of_others_are_put_back_as_they_were() -> None:
    config = compose(Deployed(models=(entry("k3"),)), details(FOREIGN), CLUSTER)
    assert by_name(config)["theirs"] == FOREIGN


def test_leaving_a_cluster_leaves_the_applications_of_others() -> None:
    ours = compose(Deployed(models=(entry("k3"),)), EMPTY, CLUSTER)["applications"]
    assert compose_none(details(*ours, FOREIGN), CLUSTER)["applications"] == [FOREIGN]


def test_an_engine_of_an_older_version_is_ours() -> None:
    config = compose(Deployed(models=(entry("k3"),)), EMPTY, CLUSTER)
    older = by_name(config)["model-k3"] | {"import_path": FORMER_ENGINE_IMPORT}
    assert compose(Deployed(models=(entry("k3"),)), details(older), CLUSTER) == config


def test_a_name_that_somebody_else_uses_is_refused() -> None:
    with pytest.raises(DeployFailed, match="somebody else's called 'gateway'"):
        compose(Deployed(), details(FOREIGN | {"name": "gateway"}), CLUSTER)


def test_an_alias_goes_to_the_model_that_was_given_it_last() -> None:
    deployed = Deployed(models=(entry("k3", aliases=("dall-e-3", "*")),))
    after = with_model(deployed, entry("sd", aliases=("dall-e-3",)))
    assert [model.aliases for model in after.models] == [("*",), ("dall-e-3",)]


def test_the_name_of_a_model_cannot_be_an_alias_of_another() -> None:
    with pytest.raises(Problem, match="'k3' is the name of a deployed model"):
        with_model(Deployed(models=(entry("k3"),)), entry("sd", aliases=("k3",)))


def test_taking_away_an_unknown_model_names_those_there_are() -> None:
    with pytest.raises(Problem, match="no model called 'x' is deployed; deployed: k3, sd"):
        without_model(Deployed(models=(entry("k3"), entry("sd"))), "x")
