"""The model that an order names, on this machine: fetched from a hub first where it lies on one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from engines.card import HubOrigin, ModelCard
from engines.errors import NotLoadable
from engines.hub import DownloadProgress, fetch
from gateway.order import Order, card_of, check_order
from gateway.problems import NotDeployable


class Report(Protocol):
    """Where the progress of a download is shown."""

    def transfer(self, text: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Bytes are moved: the function given takes how many, and of how many."""

    def say(self, text: str) -> None:
        """A line for the operator."""


def obtained_card(order: Order, report: Report, *, pickles: bool) -> ModelCard:
    """The card of the ordered model; one of a hub is fetched, and its commit noted.

    Raises:
        NotDeployable: it cannot be fetched or loaded, in words.
        Problem: the name cannot be one.
    """
    if order.hub is None:
        return card_of(order)
    check_order(order)
    try:
        with report.transfer(f"Fetching {order.hub}") as advance:
            fetched = fetch(order.hub, _telling(advance), pickles=pickles, with_prior=order.prior is None)
    except NotLoadable as error:
        words = f"{order.hub}: {error.reason}; there is no such path on this machine either"
        raise NotDeployable(words) from error
    if fetched.offline:
        report.say(f"{order.hub}: {fetched.offline}; the files that were fetched before are used")
    prior = order.prior or (Path(fetched.prior) if fetched.prior else None)
    card = card_of(replace(order, path=Path(fetched.folder), prior=prior))
    return card.model_copy(
        update={"hub": HubOrigin(repository=fetched.repository, revision=fetched.revision)}
    )


def _telling(advance: Callable[[int, int], None]) -> Callable[[DownloadProgress], None]:
    return lambda progress: advance(progress.bytes_done, progress.bytes_total)
