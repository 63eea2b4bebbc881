"""Stored bytes as an HTTP answer: HEAD, one range, and what the client has already."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from compat.errors import RangeNotSatisfiable
from gateway.objects import CHUNK, Objects

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


async def stored_answer(
    request: Request, objects: Objects, path: str, *, media_type: str, headers: Mapping[str, str]
) -> Response | None:
    """Answer with what is kept under a path, which never changes; ``None`` where nothing is.

    Several ranges at once are answered with the whole, as RFC 9110 allows.

    Raises:
        RangeNotSatisfiable, StorageFailed
    """
    size = await objects.size(path)
    if size is None:
        return None
    tag = f'"{hashlib.sha256(path.encode()).hexdigest()[:32]}"'
    common = {"etag": tag, "accept-ranges": "bytes", "x-content-type-options": "nosniff", **headers}
    if _named(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=common)
    wanted = _range(request, size, tag)
    start, end = wanted or (0, size)
    status = 200 if wanted is None else 206
    if wanted is not None:
        common["content-range"] = f"bytes {start}-{end - 1}/{size}"
    common["content-length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, media_type=media_type, headers=common)
    # The first bytes come before the status does: a storage that fails is told as what it is.
    first = await objects.read(path, start, min(start + CHUNK, end)) if end > start else b""
    if first is None:
        return None
    if len(first) == end - start:
        return Response(first, status, common, media_type)
    rest = objects.chunks(path, start + len(first), end)
    return StreamingResponse(_joined(first, rest), status, common, media_type)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _named(header: str, tag: str) -> bool:
    names = {name.strip().removeprefix("W/") for name in header.split(",")}
    return bool({tag, "*"} & names)


def _range(request: Request, size: int, tag: str) -> tuple[int, int] | None:
    """First and last-plus-one byte of the one range asked for; ``None``: the whole."""
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if request.headers.get("if-range", tag) != tag:
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
    if found[1] and found[2] and int(found[2]) < int(found[1]):
        return None
    if start >= size or end <= start:
        raise RangeNotSatisfiable(size)
    return start, end
