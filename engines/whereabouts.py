"""Whether a model's files are on the node that its engine has started on, told clearly where they are not."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import ray

from engines.card import ModelCard
from engines.errors import LoadFailed

_logger = logging.getLogger(__name__)

CURE: Final = (
    "A model that is named by a path must lie there on every machine on which its engine may run: as a copy, "
    "or on storage that they share. Or deploy it by its hub id, which each machine fetches for itself, or "
    "pin it with --resource to a machine that has it"
)


def require_here(card: ModelCard) -> None:
    """Make sure that the files which a card names by path are on this machine; a hub's are fetched.

    Raises:
        LoadFailed: one is not; the reason names the machine and what would help.
    """
    if card.hub is not None:
        return
    for what, path in _places(card):
        if not Path(path).exists():
            _logger.error("%s: %s is not on this machine, %s", card.name, path, this_machine())
            raise LoadFailed(
                card.name, f"{what} ({Path(path).name}) is not on the machine {this_machine()}. {CURE}"
            )


def this_machine() -> str:
    """This machine's name, and the address that the cluster knows it by, where it is in one."""
    name = socket.gethostname()
    if not ray.is_initialized():
        return name
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return f"{name} ({address})"


def _places(card: ModelCard) -> Iterator[tuple[str, str]]:
    yield "its folder or file", card.path
    if card.prior_path is not None:
        yield "its prior", card.prior_path
    for source in card.sources:
        yield f"its {source.role}", source.path
