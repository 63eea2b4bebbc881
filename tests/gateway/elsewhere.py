"""Another server at the end of the wire: says what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from gateway.remote_server import RemoteServer
from gateway.remotes import RemoteEntry

PICTURE = {"created": 1, "data": [{"b64_json": "AAAA"}]}


class Elsewhere:
    """A transport (the SDK's httpx2 is none that respx can patch); by default it answers a picture."""

    def __init__(self) -> None:
        self.respond: Callable[[httpx2.Request], httpx2.Response] = lambda _: httpx2.Response(
            200, json=PICTURE
        )
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return self.respond(request)

    def reach(self, entry: RemoteEntry) -> RemoteServer:
        """A client whose wire ends here."""
        return RemoteServer(entry, http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(self)))

    def answers(self, status: int, body: object, **headers: str) -> None:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.respond = lambda _: httpx2.Response(status, json=body, headers=given)

    def refuses(self, status: int, **error: object) -> None:
        self.answers(status, {"error": {"message": "no", "type": "t", "param": None, "code": None} | error})

    def raises(self, error: Exception) -> None:
        def fail(_: httpx2.Request) -> httpx2.Response:
            raise error

        self.respond = fail
