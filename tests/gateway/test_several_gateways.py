"""More than one gateway: how Serve is told, and what they must share."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from gateway.cluster import Cluster
from gateway.deployments import compose, compose_none
from gateway.problems import Problem
from gateway.serve_api import ServeApi, ServeDetails
from gateway.settings import EVERY_NODE, Settings, from_environment
from gateway.shared_places import require_shared
from gateway.spreading import EveryNode
from gateway.state import Deployed

CLUSTER = Cluster(ServeApi("http://127.0.0.1:1", None), "0.0.0.0", 8000)
SHARED = Settings(gateways=EVERY_NODE, storage_url="s3://pictures", database_url="postgresql://db/gateway")


def gateway_of(settings: Settings, cluster: Cluster = CLUSTER) -> tuple[dict[str, Any], str]:
    """The gateway's application, and where the proxies are."""
    config = compose(Deployed(settings=settings), ServeDetails(), cluster)
    ServeDeploySchema.model_validate(config)
    [application] = config["applications"]
    return application, config["proxy_location"]


def test_one_gateway_decides_itself_and_stays_on_the_head() -> None:
    application, proxies = gateway_of(Settings())
    assert application["args"] == {"gateways": 1, "on_head": True}
    assert [part["name"] for part in application["deployments"]] == ["Gateway"]
    assert proxies == "HeadOnly"


def test_several_gateways_have_one_conductor() -> None:
    application, proxies = gateway_of(Settings(gateways=3))
    assert application["args"] == {"gateways": 3, "on_head": True}
    assert [part["name"] for part in application["deployments"]] == ["Gateway", "Conductor"]
    assert Settings.model_validate(application["deployments"][1]["user_config"]).gateways == 3
    assert proxies == "HeadOnly"


def test_a_gateway_on_every_node_has_a_proxy_there() -> None:
    application, proxies = gateway_of(SHARED)
    assert application["args"] == {"gateways": EVERY_NODE, "on_head": False}
    assert proxies == "EveryNode"


def test_a_borrowed_cluster_may_have_its_gateway_anywhere() -> None:
    borrowed = Cluster(ServeApi("http://127.0.0.1:1", None), "127.0.0.1", 8000, borrowed=True)
    assert gateway_of(Settings(), borrowed)[0]["args"] == {"gateways": 1, "on_head": False}


def test_leaving_a_cluster_leaves_its_proxies_where_they_are() -> None:
    details = ServeDetails(proxy_location="EveryNode")
    assert compose_none(details, CLUSTER)["proxy_location"] == "EveryNode"


def test_the_policy_is_found_under_the_name_that_serve_is_given() -> None:
    ingress = importlib.import_module("gateway.ingress")
    application = ingress.build_app({"gateways": EVERY_NODE})
    deployment = application._bound_deployment
    module, _, name = deployment._deployment_config.autoscaling_config.policy.policy_function.partition(":")
    assert getattr(importlib.import_module(module), name) is EveryNode
    assert deployment._replica_config.max_replicas_per_node == 1


def test_there_is_a_gateway_for_every_living_node() -> None:
    policy = EveryNode(lambda: [{"Alive": True}, {"Alive": False}, {"Alive": True}])
    assert policy(None) == (2, {})


def test_there_is_a_gateway_even_where_no_node_is_seen() -> None:
    assert EveryNode(list)(None) == (1, {})


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", ""])
def test_a_bad_number_of_gateways_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="expected a number from 1, or every-node"):
        from_environment({"KANDINSKY_GATEWAYS": text})


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("12", 12), ("every-node", EVERY_NODE)])
def test_the_number_of_gateways_comes_from_the_environment(text: str, number: object) -> None:
    assert from_environment({"KANDINSKY_GATEWAYS": text}).gateways == number


@pytest.mark.parametrize(
    ("change", "host", "words"),
    [
        ({"storage_url": None}, "0.0.0.0", "KANDINSKY_STORAGE_URL"),
        ({"storage_url": "memory://x"}, "0.0.0.0", "KANDINSKY_STORAGE_URL"),
        ({"database_url": None}, "0.0.0.0", "KANDINSKY_DATABASE_URL"),
        ({"database_url": "sqlite:////data/x"}, "0.0.0.0", "KANDINSKY_DATABASE_URL"),
        ({}, "10.0.0.1", "HOST=0.0.0.0"),
    ],
)
def test_what_would_lie_on_one_machine_alone_is_refused(
    change: dict[str, Any], host: str, words: str
) -> None:
    with pytest.raises(Problem, match=words):
        require_shared(SHARED.model_copy(update=change), host)


def test_shared_places_are_accepted() -> None:
    assert require_shared(SHARED, "0.0.0.0") == ()
    assert require_shared(Settings(gateways=4), "10.0.0.1") == ()


def test_a_folder_is_taken_at_its_word() -> None:
    [warning] = require_shared(SHARED.model_copy(update={"storage_url": "/mnt/pictures"}), "0.0.0.0")
    assert "/mnt/pictures must be the same folder on every machine" in warning
