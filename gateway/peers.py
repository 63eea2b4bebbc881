"""Who is at the other end of a connection: the client itself, or a proxy that is believed what it says."""

from __future__ import annotations

import ipaddress
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from gateway.settings import Settings

FORWARDED_FOR: Final = "x-forwarded-for"


def trusted(address: str, settings: Settings) -> bool:
    """Whether an address is that of a proxy whose X-Forwarded headers are believed."""
    if not settings.trusted_proxies:
        return False
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(peer in ipaddress.ip_network(network) for network in settings.trusted_proxies)


def client_address(scope: Scope, settings: Settings) -> str | None:
    """The client's address; ``None`` where the connection has none, as on a Unix socket.

    Behind trusted proxies it is the last that they name and that is not one of their own: whatever
    stands before it the client may have written itself.
    """
    client = scope.get("client")
    if client is None:
        return None
    address: str = client[0]
    named = [part.strip() for each in Headers(scope=scope).getlist(FORWARDED_FOR) for part in each.split(",")]
    while named and trusted(address, settings):
        address = named.pop()
    return address
