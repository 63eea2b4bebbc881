"""An order to deploy a model: what the operator says, and the registry's entry that it makes."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from engines.calls import EngineOptions
from engines.card import ModelCard
from engines.detection import demo_card, detect, slug
from engines.hub.reference import HubReference
from engines.schema import PipelineSchema, SizeFit
from gateway.deployments import has_default
from gateway.problems import NotDeployable, Problem
from gateway.registry import ANY, ModelEntry
from gateway.state import Deployed

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be deployed; without a path or a hub's name the model that comes with the package.

    ``components`` are parts of the model by name that lie elsewhere.
    ``options`` are the fields of `EngineOptions` that were given. What is not said stays as it is
    with a model that is deployed already; an empty ``fallback`` takes it away.
    """

    path: Path | None = None
    hub: HubReference | None = None
    name: str | None = None
    prior: Path | None = None
    components: Mapping[str, Path] = field(default_factory=dict)
    size_fit: SizeFit | None = None
    aliases: tuple[str, ...] = ()
    fallback: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def card_of(order: Order) -> ModelCard:
    """Look at the model, and at everything in the order that can be judged without the service.

    Raises:
        NotDeployable: with what the model needs, or the option that does not fit.
        Problem: the name cannot be one.
    """
    check_order(order)
    if order.path is None:
        card = demo_card()
        card = card.model_copy(update={"name": order.name or card.name})
    elif not order.path.exists():
        raise NotDeployable(f"there is no file or folder at {order.path}")
    else:
        card = detect(order.path, name=order.name, prior=order.prior, components=order.components)
    if not card.loadable:
        raise NotDeployable(f"{card.path} cannot be loaded: {card.reason}")
    if order.size_fit is not None:
        preset = card.preset.model_copy(update={"size_fit": order.size_fit})
        card = card.model_copy(update={"preset": preset})
    return card


def check_order(order: Order) -> None:
    """Judge what can be judged before the model is looked at.

    Raises:
        NotDeployable: an option that cannot be.
        Problem: the name cannot be one.
    """
    _options(order, None)
    check_names(*filter(None, (order.name, *order.aliases)))


def carried(order: Order, deployed: Deployed) -> Order:
    """The order with what it does not say and was said of the same model before: parts, prior, size fit."""
    before = next((entry.card for entry in deployed.models if _is_meant(order, entry)), None)
    if before is None:
        return order
    parts = {source.role: Path(source.path) for source in before.sources if source.path != before.path}
    prior = Path(before.prior_path) if before.prior_path else None
    return replace(
        order,
        components=order.components or {role: path for role, path in parts.items() if _is_kept(path)},
        prior=order.prior or (prior if prior is not None and _is_kept(prior) else None),
        size_fit=order.size_fit or before.preset.size_fit,
    )


def _is_kept(path: Path) -> bool:
    """Whether a part is still there, and not one of a hub's, which belongs to its commit."""
    return path.exists() and "snapshots" not in path.parts


def _is_meant(order: Order, entry: ModelEntry) -> bool:
    """Whether an order is about a model that is deployed already, as far as can be told before a look."""
    if order.name is not None and order.name != entry.name:
        return False
    if order.hub is not None:
        return entry.card.hub is not None and entry.card.hub.repository == order.hub.repository
    if order.path is None:
        return False
    path, there = order.path.expanduser().absolute(), Path(entry.card.path)
    return there == path or path in there.parents


def check_names(*names: str) -> None:
    """Raise a `Problem` for what cannot be a model's name or alias."""
    for name in names:
        if name != ANY and not NAME.fullmatch(name):
            raise Problem(
                f"{name!r} cannot be a model's name: letters, digits, dots, dashes and underscores can, "
                f"as in {slug(name)!r}"
            )


def entry_of(order: Order, card: ModelCard, schema: PipelineSchema, deployed: Deployed) -> ModelEntry:
    """The entry that an order makes beside what is deployed.

    Raises:
        Problem: the name was not chosen and another model has it.
        NotDeployable: an option does not fit.
    """
    previous = _previous(order, card, deployed)
    return ModelEntry(
        card=card,
        schema_=schema,
        options=_options(order, previous),
        aliases=_aliases(order, previous, deployed),
        created=previous.created if previous else int(time.time()),
        fallback=_fallback(order, card.name, previous, deployed),
    )


def _previous(order: Order, card: ModelCard, deployed: Deployed) -> ModelEntry | None:
    """This very model's entry, where it is deployed already."""
    found = deployed.find(card.name)
    if isinstance(found, ModelEntry) and _is_same(found.card, card):
        return found
    if found is not None and order.name is None:
        where = found.card.path if isinstance(found, ModelEntry) else found.base_url
        raise Problem(
            f"a model called {card.name!r} is deployed already, from {where}; choose a name with --model-name"
        )
    return None


def _is_same(one: ModelCard, other: ModelCard) -> bool:
    """Whether two cards are of one model; a hub's moves to another folder with every commit."""
    if one.hub is not None and other.hub is not None:
        return one.hub.repository == other.hub.repository
    return one.path == other.path


def _fallback(order: Order, name: str, previous: ModelEntry | None, deployed: Deployed) -> str | None:
    if order.fallback is None:
        return previous.fallback if previous else None
    if order.fallback == "":
        return None
    if order.fallback == name or deployed.find(order.fallback) is None:
        others = ", ".join(entry.name for entry in deployed.entries if entry.name != name) or "none"
        raise Problem(f"{order.fallback!r} cannot be the fallback of {name!r}; other models: {others}")
    return order.fallback


def _options(order: Order, previous: ModelEntry | None) -> EngineOptions:
    before = previous.options if previous else EngineOptions()
    try:
        return EngineOptions.model_validate(before.model_dump() | order.options)
    except ValidationError as error:
        first = error.errors()[0]
        raise NotDeployable(f"bad option {first['loc'][0]}: {first['msg']}") from error


def _aliases(order: Order, previous: ModelEntry | None, deployed: Deployed) -> tuple[str, ...]:
    """The demo model answers to every name where it is the first: tools ask for names of their own."""
    if order.aliases:
        return order.aliases
    if previous is not None:
        return previous.aliases
    return (ANY,) if order.path is None and not has_default(deployed) and not deployed.entries else ()
