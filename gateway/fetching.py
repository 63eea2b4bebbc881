"""Pictures fetched from addresses that a caller names, without lending the caller this server's network.

Every host name is looked up once, every address it has must be public, and the connection goes to the
address that was checked: a second look-up could give another. Redirects are followed by hand, with the
same check each time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import httpx2

from compat.errors import Unsupported
from engines.errors import InvalidImage

MOST_REDIRECTS: Final = 3
FETCH_SECONDS: Final = 20.0
_PORTS: Final = (80, 443)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes a host name and a port; returns IP addresses."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Fetcher:
    """Fetches http(s) addresses of at most ``limit`` bytes.

    ``networks`` are allowed although they are not public; any port is then allowed there too.
    """

    def __init__(self, *, limit: int, networks: Sequence[str] = (), lookup: Lookup = system_lookup) -> None:
        self._limit = limit
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._lookup = lookup

    async def fetch(self, name: str, url: str) -> bytes:
        """The bytes behind an address; ``name`` is the request field, for the error.

        Raises:
            InvalidImage: the address may not be fetched, or cannot be.
        """
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                httpx2.AsyncClient(trust_env=False, timeout=FETCH_SECONDS) as client,
            ):
                for _ in range(MOST_REDIRECTS + 1):
                    answer, place = await self._request(name, client, url)
                    if place is None:
                        return answer
                    url = place
        except TimeoutError:
            raise InvalidImage(name, f"the address did not answer within {FETCH_SECONDS:g} s") from None
        except (httpx2.HTTPError, OSError) as error:
            raise InvalidImage(name, f"the address cannot be fetched ({type(error).__name__})") from error
        raise InvalidImage(name, f"the address redirects more than {MOST_REDIRECTS} times")

    async def _request(self, name: str, client: httpx2.AsyncClient, url: str) -> tuple[bytes, str | None]:
        """One request; returns the body, or where to go on."""
        parsed = self._parsed(name, url)
        address = await self._checked_address(name, parsed)
        host = f"[{address}]" if address.version == 6 else str(address)
        request = client.build_request(
            "GET",
            parsed.copy_with(host=host),
            headers={"Host": parsed.netloc.decode(), "Accept": "image/*"},
            extensions={"sni_hostname": parsed.host},
        )
        answer = await client.send(request, stream=True, follow_redirects=False)
        try:
            if answer.is_redirect:
                return b"", str(parsed.join(answer.headers.get("location", "")))
            if answer.status_code != 200:
                raise InvalidImage(name, f"the address answered with status {answer.status_code}")
            return await self._limited(name, answer), None
        finally:
            await answer.aclose()

    def _parsed(self, name: str, url: str) -> httpx2.URL:
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            raise InvalidImage(name, "not a valid address") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise Unsupported(name, "A picture's address starts with https://, http:// or data:image/.")
        if parsed.userinfo:
            raise InvalidImage(name, "an address with a user name or password is not fetched")
        return parsed

    async def _checked_address(self, name: str, url: httpx2.URL) -> Address:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = [ipaddress.ip_address(text) for text in await self._lookup(url.host, port)]
        except (OSError, ValueError, UnicodeError):
            addresses = []
        if not addresses:
            raise InvalidImage(name, "the address' host name is not known")
        for address in addresses:
            if not self._allowed(address, port):
                raise InvalidImage(name, "the address is not a public one")
        return addresses[0]

    def _allowed(self, address: Address, port: int) -> bool:
        if any(address in network for network in self._networks if network.version == address.version):
            return True
        return port in _PORTS and is_public(address)

    async def _limited(self, name: str, answer: httpx2.Response) -> bytes:
        data = bytearray()
        async for chunk in answer.aiter_bytes():
            data += chunk
            if len(data) > self._limit:
                raise InvalidImage(name, f"the picture is larger than {self._limit} bytes")
        return bytes(data)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, seen through IPv6's ways of writing IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
