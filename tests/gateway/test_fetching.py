"""Pictures fetched from addresses: only public ones, whatever name or redirect they hide behind."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream

from compat.errors import Unsupported
from engines.errors import InvalidImage
from gateway.addresses import is_public
from gateway.fetching import Fetcher

pytestmark = pytest.mark.anyio

LOOPBACK = ("127.0.0.0/8",)
Answer = Callable[[SocketStream, bytes], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """A bare HTTP server on a free port; ``answer`` gets the connection and the request."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def handle(stream: SocketStream) -> None:
        async with stream:
            with anyio.move_on_after(10):
                try:
                    await answer(stream, await stream.receive())
                except (anyio.BrokenResourceError, anyio.EndOfStream):
                    return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()
    await listener.aclose()


def found_at(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def lookup(_: str, __: int) -> Sequence[str]:
        return addresses

    return lookup


async def whole(stream: SocketStream, _: bytes) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\npicture")


async def test_allowed_network_is_fetched_by_the_address_that_was_looked_up() -> None:
    hosts: list[bytes] = []

    async def answer(stream: SocketStream, request: bytes) -> None:
        hosts.append(request)
        await whole(stream, request)

    async with server(answer) as port:
        fetcher = Fetcher(limit=100, networks=LOOPBACK, lookup=found_at("127.0.0.1"))
        assert await fetcher.fetch("image", f"http://pictures.example:{port}/a.png") == b"picture"
    assert f"Host: pictures.example:{port}".encode().lower() in hosts[0].lower()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
async def test_name_of_a_private_address_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(InvalidImage, match="not a public one"):
        await Fetcher(limit=100, lookup=found_at("93.184.216.34", address)).fetch(
            "image", "http://a.example/"
        )


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_address_is_one(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]/", "http://localhost/", "http://2130706433/"]
)
async def test_loopback_is_refused_however_it_is_spelled(url: str) -> None:
    with pytest.raises(InvalidImage):
        await Fetcher(limit=100).fetch("image", url)


async def test_redirect_into_a_private_network_is_refused() -> None:
    async def answer(stream: SocketStream, _: bytes) -> None:
        await stream.send(
            b"HTTP/1.1 302 Found\r\nlocation: http://inside.example/\r\ncontent-length: 0\r\n\r\n"
        )

    async def lookup(host: str, _: int) -> Sequence[str]:
        return ["10.0.0.1"] if host == "inside.example" else ["127.0.0.1"]

    async with server(answer) as port:
        fetcher = Fetcher(limit=100, networks=LOOPBACK, lookup=lookup)
        with pytest.raises(InvalidImage, match="not a public one"):
            await fetcher.fetch("image", f"http://a.example:{port}/")


async def test_redirects_without_end_are_given_up() -> None:
    async def answer(stream: SocketStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n")

    async with server(answer) as port:
        fetcher = Fetcher(limit=100, networks=LOOPBACK, lookup=found_at("127.0.0.1"))
        with pytest.raises(InvalidImage, match="more than 3 times"):
            await fetcher.fetch("image", f"http://a.example:{port}/")


async def test_body_without_end_is_cut_off() -> None:
    async def answer(stream: SocketStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send(b"x" * 1000)

    async with server(answer) as port:
        fetcher = Fetcher(limit=5000, networks=LOOPBACK, lookup=found_at("127.0.0.1"))
        with pytest.raises(InvalidImage, match="larger than 5000 bytes"):
            await fetcher.fetch("image", f"http://a.example:{port}/")


@pytest.mark.parametrize("status", [b"404 Not Found", b"500 Oops", b"204 No Content"])
async def test_status_other_than_success_is_told(status: bytes) -> None:
    async def answer(stream: SocketStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")

    async with server(answer) as port:
        fetcher = Fetcher(limit=100, networks=LOOPBACK, lookup=found_at("127.0.0.1"))
        with pytest.raises(InvalidImage, match=f"status {status[:3].decode()}"):
            await fetcher.fetch("image", f"http://a.example:{port}/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.example/a.png", "gopher://a.example", "a"])
async def test_other_kinds_of_address_are_refused(url: str) -> None:
    with pytest.raises(Unsupported, match="starts with https://"):
        await Fetcher(limit=100).fetch("image", url)


async def test_address_with_a_password_is_refused() -> None:
    with pytest.raises(InvalidImage, match="user name"):
        await Fetcher(limit=100).fetch("image", "http://me:secret@a.example/")


async def test_port_of_another_service_is_refused() -> None:
    with pytest.raises(InvalidImage):
        await Fetcher(limit=100, lookup=found_at("93.184.216.34")).fetch("image", "http://a.example:22/")
