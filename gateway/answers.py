"""Answers as Starlette responses: JSON bytes, and every failure as OpenAI's error object."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from compat.errors import render


def json_answer(content: bytes | Mapping[str, object], status: int = 200, **headers: str) -> Response:
    """A JSON answer; ready-made bytes pass as they are, underscores in header names become dashes."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body, status, given, media_type="application/json")


def failure(error: BaseException, *, request_id: str | None = None) -> Response:
    """The answer to a request that failed with ``error``; a fault of our own names only the request."""
    answer = render(error, request_id=request_id)
    return Response(orjson.dumps(answer.body), answer.status, answer.headers, media_type="application/json")
