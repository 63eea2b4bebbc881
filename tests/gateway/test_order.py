"""What an order to deploy makes of what is said and of what is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.calls import EngineOptions
from engines.detection import DEMO_PATH
from engines.schema import SizeFit
from gateway.order import Order, card_of, entry_of
from gateway.problems import NotDeployable, Problem
from gateway.registry import ModelEntry
from gateway.state import Deployed
from tests.gateway.entries import entry

SCHEMA = entry("demo").schema_


def made(order: Order, *deployed: ModelEntry) -> ModelEntry:
    return entry_of(order, card_of(order), SCHEMA, Deployed(models=deployed))


def test_the_demo_model_answers_to_every_name_where_it_is_the_first() -> None:
    assert made(Order()).aliases == ("*",)
    assert made(Order(), entry("k3")).aliases == ()


def test_a_model_of_ones_own_gets_the_aliases_that_were_asked_for() -> None:
    assert made(Order(path=DEMO_PATH, name="mine", aliases=("dall-e-3",))).aliases == ("dall-e-3",)


def test_what_is_not_said_stays_as_it_was() -> None:
    before = made(Order(aliases=("dall-e-3",), options={"threads": 2}))
    after = made(Order(options={"idle_seconds": 5}), before)
    assert (after.aliases, after.created) == (before.aliases, before.created)
    assert after.options == EngineOptions(threads=2, idle_seconds=5)


def test_a_taken_name_is_refused_unless_it_was_chosen() -> None:
    other = entry("demo")
    with pytest.raises(Problem, match="choose a name with --model-name"):
        made(Order(), other)
    assert made(Order(name="demo"), other).card.path == str(DEMO_PATH)


def test_the_way_to_fit_a_size_reaches_the_card() -> None:
    assert card_of(Order(size_fit=SizeFit.ERROR)).preset.size_fit is SizeFit.ERROR


@pytest.mark.parametrize("name", ["a b", "a/b", "-x", "**"])
def test_a_name_that_is_no_part_of_an_address_is_refused(name: str) -> None:
    with pytest.raises(Problem, match="cannot be a model's name"):
        card_of(Order(aliases=(name,)))


def test_a_model_that_cannot_be_loaded_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(NotDeployable, match=r"is not yet loadable: .*model_index\.json"):
        card_of(Order(path=tmp_path))


def test_a_bad_option_is_refused_by_name() -> None:
    with pytest.raises(NotDeployable, match="bad option dtype"):
        card_of(Order(options={"dtype": "float8"}))


def test_a_fallback_is_one_of_the_other_models() -> None:
    before = made(Order(fallback="k3"), entry("k3"))
    assert before.fallback == "k3"
    assert made(Order(), before, entry("k3")).fallback == "k3"
    assert made(Order(fallback=""), before, entry("k3")).fallback is None


@pytest.mark.parametrize("name", ["demo", "gone"])
def test_a_fallback_that_cannot_stand_in_is_refused(name: str) -> None:
    with pytest.raises(Problem, match=f"'{name}' cannot be the fallback of 'demo'; other models: k3"):
        made(Order(fallback=name), entry("k3"))
