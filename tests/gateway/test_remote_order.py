"""What an order for a model of another server makes of what is said and of what is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.control import Control
from gateway.deployments import compose, with_model, without_model
from gateway.problems import Problem
from gateway.registry import Registry
from gateway.remote_order import RemoteOrder, check_order, remote_entry_of
from gateway.remotes import RemoteEntry, RemoteKey
from gateway.service import GatewayConfig
from gateway.state import Deployed, StateFolder
from tests.gateway.entries import entry
from tests.gateway.test_deployments import CLUSTER, EMPTY, by_name

URL = "https://images.example/v1"
KEY = RemoteKey(variable="THEIR_KEY")


def order(**given: Any) -> RemoteOrder:
    return RemoteOrder(**({"name": "far", "base_url": URL, "model": "theirs"} | given))


def made(given: RemoteOrder, *remotes: RemoteEntry, key: RemoteKey | None = None) -> RemoteEntry:
    return remote_entry_of(given, key, Deployed(remotes=remotes))


def test_what_is_not_said_stays_as_it_was() -> None:
    before = made(order(aliases=("away",), timeout_seconds=5, max_retries=2), key=KEY)
    after = made(order(model="newer"), before)
    assert after == before.model_copy(update={"model": "newer"})


def test_a_key_is_not_taken_along_to_another_server() -> None:
    before = made(order(), key=KEY)
    assert made(order(base_url="https://elsewhere.example/v1"), before).key is None


def test_a_model_of_ones_own_is_not_replaced_by_another_servers() -> None:
    with pytest.raises(Problem, match="'far' is a model of this service's own"):
        remote_entry_of(order(), None, Deployed(models=(entry("far"),)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"base_url": "images.example/v1"}, "bad option base_url: .*http"),
        ({"base_url": "https://me:secret@images.example/v1"}, "bad option base_url: .*without user"),
        ({"base_url": "https://images.example/v1?key=secret"}, "bad option base_url: .*query"),
        ({"timeout_seconds": 0}, "bad option timeout_seconds"),
        ({"max_retries": 99}, "bad option max_retries"),
        ({"name": "*"}, "can be an alias and no name"),
        ({"name": "a/b"}, "cannot be a model's name"),
        ({"key_file": Path("/no/such/key")}, "there is no key in /no/such/key"),
        ({"key_file": Path("x"), "key_variable": "X"}, "give one of"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Problem, match=message):
        check_order(order(**given))


def test_the_gateway_understands_the_entry_and_it_has_no_engine() -> None:
    far = made(order(), key=KEY)
    config = compose(Deployed(models=(entry("k3"),), remotes=(far,)), EMPTY, CLUSTER)
    assert set(by_name(config)) == {"gateway", "model-k3"}
    [deployment] = by_name(config)["gateway"]["deployments"]
    assert GatewayConfig.model_validate(deployment["user_config"]).remotes == (far,)


def test_an_alias_goes_from_a_model_of_ones_own_to_another_servers() -> None:
    deployed = with_model(
        Deployed(models=(entry("k3", aliases=("dall-e-3",)),)), made(order(aliases=("dall-e-3",)))
    )
    assert deployed.models[0].aliases == ()
    assert Registry(deployed.models, deployed.remotes).resolve("dall-e-3").name == "far"


def test_taking_away_a_remote_model_leaves_the_others() -> None:
    deployed = Deployed(models=(entry("k3"),), remotes=(made(order()),))
    assert without_model(deployed, "far") == Deployed(models=(entry("k3"),))


def test_a_key_that_is_set_here_is_kept_for_the_gateway_and_in_no_configuration(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.prepare()
    control = Control(state, {"THEIR_KEY": "sk-secret"}, _Silent())
    key = control._key_of(order(key_variable="THEIR_KEY"))
    assert key is not None
    assert key.file is not None
    assert key.read() == "sk-secret"
    assert Path(key.file).stat().st_mode & 0o777 == 0o600
    assert "sk-secret" not in made(order(), key=key).model_dump_json()
    state.forget_key("far")
    assert key.read() is None


def test_a_variable_that_is_not_set_here_is_looked_for_by_the_gateway(tmp_path: Path) -> None:
    control = Control(StateFolder(tmp_path), {}, _Silent())
    assert control._key_of(order(key_variable="THEIR_KEY")) == RemoteKey(variable="THEIR_KEY")


class _Silent:
    """Shows nothing."""

    def step(self, text: str) -> Any:
        raise AssertionError(text)

    def transfer(self, text: str) -> Any:
        raise AssertionError(text)

    def say(self, text: str) -> None:
        raise AssertionError(text)
