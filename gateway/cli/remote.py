"""``add-remote``: a model of another OpenAI-compatible server."""

from __future__ import annotations

from gateway.control import Control
from gateway.remote_order import RemoteOrder


def run(control: Control, order: RemoteOrder) -> None:
    """Add it, and say where it is served.

    Raises:
        Problem: it cannot be done, in words.
    """
    cluster, entry = control.add_remote(order)
    print(f"{entry.name} is served at {cluster.url}/v1 as {entry.model} of {entry.base_url}.")
    if entry.key is not None:
        print(f"Its key is read from {entry.key.place}.")
