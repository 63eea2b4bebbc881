"""Where a model stands, as its callers are told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a model stands."""

    ASLEEP = "asleep"
    WAKING = "waking"
    READY = "ready"
    BUSY = "busy"
    DRAINING = "draining"
    """It ends what it is at, and then sleeps."""
    PARKED = "parked"
    """Its weights wait in the host's memory; it wakes faster from there."""
    FAILED = "failed"
    REMOTE = "remote"
    """Another server answers for it, and knows where it stands."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """A look at a model. ``progress`` is the read share of its weights, 0 to 1.

    ``estimated_seconds`` is how long a waking usually takes, ``eta_seconds`` what is left of this one;
    ``position`` the place of the request that looks, from 1, where it waits for its turn.
    """

    state: State
    phase: str | None = None
    component: str | None = None
    progress: float | None = None
    bytes_loaded: int | None = None
    bytes_total: int | None = None
    elapsed_seconds: float | None = None
    estimated_seconds: float | None = None
    eta_seconds: float | None = None
    reason: str | None = None
    retry_after_seconds: float | None = None
    active_requests: int = 0
    waiting_requests: int = 0
    position: int | None = None
