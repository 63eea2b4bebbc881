"""Which of a model's replicas a call is sent to."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, TypeVar

STANDING: Final = "standing"
"""The name under which a replica tells its `Standing`, in Serve's routing stats."""

Replica = TypeVar("Replica")


class Standing(IntEnum):
    """How much good it does to send a call to a replica."""

    LEAVING = 0
    LOADING = 1
    READY = 2


def preferred(replicas: Iterable[tuple[Replica, Standing]]) -> list[Replica]:
    """Of replicas with their standings, the eldest first, those that calls go to: all that are ready, else
    the eldest of the best there are."""
    known = list(replicas)
    best = max((standing for _, standing in known), default=Standing.LEAVING)
    chosen = [replica for replica, standing in known if standing is best]
    return chosen if best is Standing.READY else chosen[:1]
