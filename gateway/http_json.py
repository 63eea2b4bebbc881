"""JSON over HTTP to a server of our own, with the standard library alone: the command line stays quick."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

from gateway.problems import NotRunning

TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Answer:
    """Status and body text of an HTTP answer, failing ones included."""

    status: int
    text: str

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)


def send(
    method: str, url: str, *, body: object = None, token: str | None = None, timeout: float = TIMEOUT_SECONDS
) -> Answer:
    """Send a request and read the whole answer.

    Raises:
        NotRunning: nobody answered.
    """
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    # A proxy of the environment is for the outside world, not for this machine or the cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as reply:
            return Answer(reply.status, reply.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise NotRunning(f"{url} does not answer: {reason}") from error
