"""``deploy``: an order from words, and what to try afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.hub.reference import HubReference
from engines.schema import SizeFit
from gateway.cli.examples import examples
from gateway.cli.foreground import stay
from gateway.control import Control
from gateway.order import Order
from gateway.problems import NotDeployable


def run(
    control: Control,
    *,
    model: str | None,
    name: str | None,
    prior: Path | None,
    components: tuple[str, ...],
    aliases: tuple[str, ...],
    size_fit: str | None,
    fallback: str | None,
    options: dict[str, Any],
    foreground: bool,
) -> None:
    """Deploy, print examples, and stay if asked to.

    Raises:
        Problem: it cannot be done, in words.
    """
    hub = HubReference.parse(model) if model else None
    if model and hub is None and model.startswith(("hf://", "http://", "https://")):
        raise NotDeployable(f"{model} names no model of a hub; hf://org/name or hf://org/name@revision does")
    order = Order(
        path=Path(model) if model and hub is None else None,
        hub=hub,
        name=name,
        prior=prior,
        components=parts(components),
        aliases=aliases,
        size_fit=_size_fit(size_fit),
        fallback=fallback,
        options=options,
    )
    cluster, entry = control.deploy(order)
    print(examples(cluster, entry), flush=True)
    if foreground:
        stay(control)


def parts(words: tuple[str, ...]) -> dict[str, Path]:
    """The parts of a model that were named as NAME=PATH.

    Raises:
        NotDeployable: a word is none of that form.
    """
    named = pairs(words, option="component", example="movq=/data/movq.pt")
    return {name: Path(path) for name, path in named.items()}


def kinds(words: tuple[str, ...]) -> dict[str, str]:
    """The components that are to have fewer bits; one that is given as NAME=none has its own again.

    Raises:
        NotDeployable: a word is not NAME=KIND.
    """
    named = pairs(words, option="quantize", example="text_encoder=int8")
    return {name: kind for name, kind in named.items() if kind != "none"}


def amounts(words: tuple[str, ...]) -> dict[str, float]:
    """Resources that were given as NAME=AMOUNT; NAME alone is one of it.

    Raises:
        NotDeployable: a word is of neither form.
    """
    named = pairs(
        tuple(word if "=" in word else f"{word}=1" for word in words), option="resource", example="slot=1"
    )
    try:
        found = {name: float(amount) for name, amount in named.items()}
    except ValueError as error:
        raise NotDeployable(f"bad option resource: {error}") from error
    for name, amount in found.items():
        if not 0 < amount < float("inf"):
            raise NotDeployable(f"bad option resource: {name}={amount:g} is not an amount above 0")
    return found


def pairs(words: tuple[str, ...], *, option: str, example: str) -> dict[str, str]:
    """Words of the form NAME=VALUE.

    Raises:
        NotDeployable: a word is none of that form.
    """
    found = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not (separator and name and value):
            raise NotDeployable(f"bad option {option}: {word!r} is not NAME=VALUE, as in {example}")
        found[name] = value
    return found


def _size_fit(word: str | None) -> SizeFit | None:
    if word is None:
        return None
    try:
        return SizeFit(word)
    except ValueError:
        words = ", ".join(SizeFit)
        raise NotDeployable(f"bad option size_fit: {word!r} is none of {words}") from None
