"""The files of `cluster/` against what they configure: Serve's own schema and this program's names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube.models.core_v1 import PodTemplateSpec
from packaging.specifiers import SpecifierSet
from ray.serve.schema import ServeDeploySchema

from gateway.cli.export import config_of
from gateway.deployments import (
    CONDUCTOR_DEPLOYMENT,
    GATEWAY_APPLICATION,
    GATEWAY_DEPLOYMENT,
    GATEWAY_IMPORT,
    proxy_location,
)
from gateway.ingress import GatewayArgs
from gateway.ray_node import TOGETHER_VARIABLE, environment_of
from gateway.service import GatewayConfig
from gateway.settings import EVERY_NODE, Settings
from gateway.shared_places import require_shared
from gateway.state import Deployed, StateFolder
from tests.gateway.entries import entry

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """The specification of the RayService."""
    [document] = yaml.safe_load_all((ROOT / "cluster/kuberay/rayservice.yaml").read_text())
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayService")
    found: dict[str, Any] = document["spec"]
    return found


@pytest.fixture(scope="module")
def config(spec: dict[str, Any]) -> dict[str, Any]:
    """Serve's configuration in it."""
    found: dict[str, Any] = yaml.safe_load(spec["serveConfigV2"])
    return found


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The only container of each kind of pod."""
    cluster = spec["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"]["containers"][0] for group in groups]


def test_kubernetes_knows_every_field_of_the_pods(spec: dict[str, Any]) -> None:
    cluster = spec["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        # What it does not know is left out; what has another type is refused.
        assert PodTemplateSpec.from_dict(group["template"]).to_dict() == group["template"]


def test_serve_accepts_the_configuration(config: dict[str, Any]) -> None:
    parsed = ServeDeploySchema.model_validate(config)
    [application] = parsed.applications
    assert (application.name, application.import_path) == (GATEWAY_APPLICATION, GATEWAY_IMPORT)


def test_the_gateways_understand_their_configuration(config: dict[str, Any]) -> None:
    [application] = config["applications"]
    gateway, conductor = application["deployments"]
    settings = GatewayConfig.model_validate(gateway["user_config"]).settings
    assert (gateway["name"], conductor["name"]) == (GATEWAY_DEPLOYMENT, CONDUCTOR_DEPLOYMENT)
    assert Settings.model_validate(conductor["user_config"]) == settings
    assert GatewayArgs.model_validate(application["args"]).gateways == settings.gateways == EVERY_NODE
    assert config["proxy_location"] == proxy_location(settings)
    assert require_shared(settings, config["http_options"]["host"]) == ()


def test_the_pods_have_the_environment_of_a_node(spec: dict[str, Any], tmp_path: Path) -> None:
    ours = environment_of(StateFolder(tmp_path), {}, together=True)
    # KubeRay makes the token, and pods are together anyway.
    for name in (TOGETHER_VARIABLE, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        del ours[name]
    for pod in pods(spec):
        assert {variable["name"]: variable["value"] for variable in pod["env"]} == ours


def test_the_pods_open_the_port_of_the_gateway(spec: dict[str, Any], config: dict[str, Any]) -> None:
    port = config["http_options"]["port"]
    assert all({"containerPort": port, "name": "serve"} in pod["ports"] for pod in pods(spec))


def test_image_and_ray_have_the_versions_of_the_project(spec: dict[str, Any]) -> None:
    [ray] = [each for each in PROJECT["dependencies"] if each.startswith("ray[")]
    assert spec["rayClusterConfig"]["rayVersion"] in SpecifierSet(ray.partition("]")[2])
    assert {pod["image"].rpartition(":")[2] for pod in pods(spec)} == {PROJECT["version"]}


def test_every_volume_that_is_mounted_is_there(spec: dict[str, Any]) -> None:
    cluster = spec["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == volumes


def test_the_image_holds_every_package() -> None:
    lines = (ROOT / "cluster/Dockerfile").read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY") and len(line.split()) == 3}
    assert copied == {"compat", "engines", "gateway"}
    extras = next(line for line in lines if "pip install" in line).partition("[")[2].partition("]")[0]
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_what_is_exported_serves_the_models_anywhere() -> None:
    deployed = Deployed(models=(entry("k3"),), settings=Settings(state_folder="/home/me"))
    config = config_of(deployed)
    parsed = ServeDeploySchema.model_validate(yaml.safe_load(yaml.safe_dump(config)))
    [gateway, model] = parsed.applications
    assert model.name == "model-k3"
    assert gateway.args == {"gateways": 1, "on_head": False}
    assert "/home/me" not in yaml.safe_dump(config)
