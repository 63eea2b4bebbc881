"""What schemathesis cannot guess: pictures. Runs in its process, next to it alone."""

import base64
import contextlib
import struct
import zlib
from typing import Any

import schemathesis
from hypothesis import strategies as st

EDGE = 64
ENOUGH = 300
"""Seconds."""
TIMEOUT = "x-kandinsky-timeout"
WAIT = "wait"
BRIEF = 0.05
"""Seconds."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png() -> bytes:
    """A picture, white on its left and transparent on its right."""
    row = b"\0" + b"\xff\xff\xff\xff" * (EDGE // 2) + b"\0\0\0\0" * (EDGE // 2)
    header = struct.pack(">IIBBBBB", EDGE, EDGE, 8, 6, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(row * EDGE)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


PNG = _png()
BASE64 = base64.b64encode(PNG).decode()
DATA_URI = f"data:image/png;base64,{BASE64}"
ODD_URIS = ("data:,", "data:image/png;base64,AAAA", "http://127.0.0.1:1/a.png", "file:///etc/hostname")

schemathesis.openapi.format("uri", st.sampled_from([DATA_URI, DATA_URI, DATA_URI, *ODD_URIS]))
schemathesis.openapi.format("binary", st.sampled_from([PNG, PNG, PNG, PNG[:40], b"", b"GIF89a", b"{}\n"]))


def is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


@schemathesis.hook
def map_headers(context: Any, headers: Any) -> Any:  # noqa: ARG001  # its signature
    """Give every call that has a time enough of it: the 504 of one that has not is no fault."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if is_time(float(headers[TIMEOUT])):
            headers[TIMEOUT] = str(max(float(headers[TIMEOUT]), ENOUGH))
    return headers


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:  # noqa: ARG001  # its signature
    """Let nothing wait for a model: it may never come to where it is waited for."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if is_time(float(query[WAIT])):
            query[WAIT] = str(min(float(query[WAIT]), BRIEF))
    return query


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:  # noqa: ARG001  # its signature
    """Put pictures where only a picture gets any further, which schemas cannot say."""
    if not isinstance(body, dict):
        return body
    if is_time(body.get("timeout")):
        body["timeout"] = max(body["timeout"], ENOUGH)
    for name in ("image", "mask_image"):
        if isinstance(body.get(name), str):
            body[name] = BASE64
    pictures = body.get("images")
    for picture in pictures if isinstance(pictures, list) else ():
        # The simplest of all ids, which comes often.
        if picture == {"file_id": "0"}:
            picture.clear()
            picture["image_url"] = DATA_URI
    return body
