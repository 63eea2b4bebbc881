"""Pictures fetched from addresses that a caller names, without lending the caller this server's network.

`addresses` checks where an address leads. Redirects are followed by hand, with the same check each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx2

from compat.errors import Unsupported
from engines.errors import InvalidImage
from gateway.addresses import Guard, Lookup, Refusal, system_lookup

MOST_REDIRECTS: Final = 3
FETCH_SECONDS: Final = 20.0


class Fetcher:
    """Fetches http(s) addresses of at most ``limit`` bytes.

    ``networks`` are allowed although they are not public; any port is then allowed there too.
    """

    def __init__(self, *, limit: int, networks: Sequence[str] = (), lookup: Lookup = system_lookup) -> None:
        self._limit = limit
        self._guard = Guard(networks, lookup)

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
        way = await self._guard.destination(parsed)
        if isinstance(way, Refusal):
            raise InvalidImage(name, way.value)
        request = client.build_request(
            "GET", way.url, headers={**way.headers, "Accept": "image/*"}, extensions=dict(way.extensions)
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

    async def _limited(self, name: str, answer: httpx2.Response) -> bytes:
        data = bytearray()
        async for chunk in answer.aiter_bytes():
            data += chunk
            if len(data) > self._limit:
                raise InvalidImage(name, f"the picture is larger than {self._limit} bytes")
        return bytes(data)
