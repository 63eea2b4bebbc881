"""Request bodies: read within a limit, and parsed as one JSON object."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request

from compat.errors import BodyTooLarge, MalformedBody, UnsupportedMediaType


async def read_json(request: Request, *, limit: int) -> dict[str, Any]:
    """Read the body as a JSON object of at most ``limit`` bytes.

    The media type must be JSON: anything else could be sent by a foreign web page without asking.

    Raises:
        UnsupportedMediaType, BodyTooLarge, MalformedBody
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(media_type, ("application/json",))
    try:
        body = orjson.loads(await _read(request, limit))
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise MalformedBody(f"expected a JSON object, but got {_json_type(body)} instead")
    return body


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(int(declared), limit)
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > limit:
            raise BodyTooLarge(len(chunks), limit)
    return bytes(chunks)


def _json_type(value: object) -> str:
    words = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return words.get(type(value), "a number")
