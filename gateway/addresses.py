"""Which addresses may be gone to for a caller: public ones, and those of networks that are allowed.

Every host name is looked up once, every address it has must be allowed, and the connection then goes to the
address that was checked: a second look-up could give another.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import httpx2

_PORTS: Final = (80, 443)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes a host name and a port; returns IP addresses."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Refusal(StrEnum):
    """Why an address is not gone to."""

    UNKNOWN = "the address' host name is not known"
    PRIVATE = "the address is not a public one"


@dataclass(frozen=True)
class Destination:
    """A checked way to a URL: the connection goes to the address, and names the host."""

    url: httpx2.URL
    headers: Mapping[str, str]
    extensions: Mapping[str, Any]


class Guard:
    """Checks where a URL leads. ``networks`` are allowed although they are not public; any port is then
    allowed there too."""

    def __init__(self, networks: Sequence[str] = (), lookup: Lookup = system_lookup) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._lookup = lookup

    async def destination(self, url: httpx2.URL) -> Destination | Refusal:
        """Where to connect for an http(s) URL, or why not."""
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = [ipaddress.ip_address(text) for text in await self._lookup(url.host, port)]
        except (OSError, ValueError, UnicodeError):
            addresses = []
        if not addresses:
            return Refusal.UNKNOWN
        if not all(self._allowed(address, port) for address in addresses):
            return Refusal.PRIVATE
        address = addresses[0]
        return Destination(
            url.copy_with(host=f"[{address}]" if address.version == 6 else str(address)),
            {"Host": url.netloc.decode()},
            {"sni_hostname": url.host},
        )

    def _allowed(self, address: Address, port: int) -> bool:
        if any(address in network for network in self._networks if network.version == address.version):
            return True
        return port in _PORTS and is_public(address)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, seen through IPv6's ways of writing IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
