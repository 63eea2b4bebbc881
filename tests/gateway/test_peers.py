"""Who is calling: an address that nobody can make up, or a key's digest."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.authentication import Authentication
from gateway.callers import NOBODY, caller
from gateway.peers import client_address
from gateway.settings import Settings, digest

pytestmark = pytest.mark.anyio


def scope(address: str | None, **headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    client = None if address is None else (address, 1234)
    return {"type": "http", "method": "GET", "path": "/models", "client": client, "headers": raw}


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.5", "198.51.100.7", "203.0.113.5"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "192.0.2.9, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "192.0.2.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        (None, "198.51.100.7", None),
    ],
)
def test_the_nearest_address_that_is_no_proxys_counts(
    peer: str | None, forwarded: str, found: str | None
) -> None:
    settings = Settings(trusted_proxies=("10.0.0.0/8",))
    headers = {"x_forwarded_for": forwarded} if forwarded else {}
    assert client_address(scope(peer, **headers), settings) == found


@pytest.mark.parametrize(
    ("keys", "headers", "seen"),
    [
        ((), {}, "192.0.2.1"),
        ((), {"api_key": "anything"}, "192.0.2.1"),
        (("key",), {"api_key": "key"}, digest("key")),
        (("key",), {"authorization": "Bearer key"}, digest("key")),
    ],
)
async def test_a_caller_is_its_key_where_keys_are_wanted(
    keys: tuple[str, ...], headers: dict[str, str], seen: str
) -> None:
    found: list[str] = []

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        found.append(caller.get())

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(_: Message) -> None:
        raise AssertionError("nothing is answered")

    await Authentication(app, settings=lambda: Settings(api_keys=keys))(
        scope("192.0.2.1", **headers), receive, send
    )
    assert found == [seen]
    assert caller.get() == NOBODY
