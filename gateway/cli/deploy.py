"""``deploy``: an order from words, and what to try afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.schema import SizeFit
from gateway.cli.examples import examples
from gateway.cli.foreground import stay
from gateway.control import Control
from gateway.order import Order
from gateway.problems import NotDeployable


def run(
    control: Control,
    *,
    path: Path | None,
    name: str | None,
    prior: Path | None,
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
    order = Order(
        path=path,
        name=name,
        prior=prior,
        aliases=aliases,
        size_fit=_size_fit(size_fit),
        fallback=fallback,
        options=options,
    )
    cluster, entry = control.deploy(order)
    print(examples(cluster, entry), flush=True)
    if foreground:
        stay(control)


def _size_fit(word: str | None) -> SizeFit | None:
    if word is None:
        return None
    try:
        return SizeFit(word)
    except ValueError:
        words = ", ".join(SizeFit)
        raise NotDeployable(f"bad option size_fit: {word!r} is none of {words}") from None
