"""What an order to deploy makes of what is said and of what is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.calls import EngineOptions
from engines.card import HubOrigin, ModelCard, Source
from engines.detection import DEMO_PATH, demo_card
from engines.hub import HubReference
from engines.schema import SizeFit
from gateway.order import Order, card_of, carried, entry_of
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
    with pytest.raises(NotDeployable, match=r"cannot be loaded: .*model_index\.json"):
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


def hubbed(commit: str) -> ModelCard:
    path = f"/hub/models--org--tiny/snapshots/{commit}"
    return demo_card().model_copy(
        update={"name": "tiny", "path": path, "hub": HubOrigin(repository="org/tiny", revision=commit)}
    )


def test_a_hub_s_model_is_the_same_at_another_commit() -> None:
    order = Order(hub=HubReference(repository="org/tiny"), aliases=("little",))
    before = entry_of(order, hubbed("aaa"), SCHEMA, Deployed())
    after = entry_of(Order(hub=order.hub), hubbed("bbb"), SCHEMA, Deployed(models=(before,)))

    assert after.aliases == ("little",)


def test_what_was_said_of_a_model_stays_said(tmp_path: Path) -> None:
    part, model, prior = (tmp_path / name for name in ("part", "model", "prior"))
    for folder in (part, model, prior):
        folder.mkdir()
    sources = (Source(role="vae", path=str(part)), Source(role="movq", path=str(tmp_path / "gone")))
    card = demo_card().model_copy(
        update={"name": "model", "path": str(model), "sources": sources, "prior_path": str(prior)}
    )
    deployed = Deployed(models=(entry_of(Order(path=model), card, SCHEMA, Deployed()),))

    order = carried(Order(path=model), deployed)
    assert (order.components, order.prior) == ({"vae": part}, prior)
    said = Order(path=model, components={"unet": part})
    assert carried(said, deployed).components == {"unet": part}
    for other in (Order(path=part), Order(path=model, name="another"), Order()):
        assert carried(other, deployed) == other
