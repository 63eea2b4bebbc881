"""An order to deploy a model: what the operator says, and the registry's entry that it makes."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    _options(order, None)
    check_names(*filter(None, (order.name, *order.aliases)))
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
    if isinstance(found, ModelEntry) and found.card.path == card.path:
        return found
    if found is not None and order.name is None:
        where = found.card.path if isinstance(found, ModelEntry) else found.base_url
        raise Problem(
            f"a model called {card.name!r} is deployed already, from {where}; choose a name with --model-name"
        )
    return None


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
