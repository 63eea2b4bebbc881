"""The headers of answers, each described once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.answering import FALLBACK_HEADER
from gateway.idempotency import REPLAYED_HEADER
from gateway.preferences import APPLIED_HEADER
from gateway.under_way import RATE

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}

HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "x-request-id": {
        "description": "Names this answer in the server's log.",
        "required": True,
        "schema": _TEXT,
    },
    "openai-processing-ms": {
        "description": "Milliseconds until the first byte of the answer.",
        "required": True,
        "schema": _COUNT,
    },
    "openai-version": {"description": "Of OpenAI's API.", "required": True, "schema": _TEXT},
    "Retry-After": {
        "description": "Seconds after which to ask again.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 60},
    },
    "x-should-retry": {
        "description": "`false`: OpenAI's SDKs do not send the request again.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
    **{
        name: {"description": f"{text} Only with a limit set.", "schema": schema}
        for name, text, schema in zip(
            RATE,
            (
                "How many calls that draw the caller may have under way at once.",
                "How many more it may begin now.",
                "When all of them will probably have ended, as `1s` or `6m0s`.",
            ),
            (_COUNT, _COUNT, _TEXT),
            strict=True,
        )
    },
    FALLBACK_HEADER: {
        "description": "The model that answered in the place of the one that was asked for.",
        "schema": _TEXT,
    },
    "Location": {"description": "The path to ask for progress.", "schema": _TEXT},
    APPLIED_HEADER: {"description": "The preference that was followed.", "schema": _TEXT},
    REPLAYED_HEADER: {
        "description": "`true`: the answer to an earlier request with this `Idempotency-Key`.",
        "schema": _TEXT,
    },
    "Allow": {"description": "The methods of this path.", "schema": _TEXT},
    "ETag": {"description": "Names the bytes, which never change.", "schema": _TEXT},
    "Accept-Ranges": {"description": "Parts can be asked for, in `bytes`.", "schema": _TEXT},
    "Content-Range": {"description": "Which bytes these are, of how many.", "schema": _TEXT},
    "Cache-Control": {"description": "How long the answer may be kept.", "schema": _TEXT},
}

EVERYWHERE: Final = ("x-request-id", "openai-processing-ms", "openai-version")
"""On every answer, failing ones included."""


def headers(*names: str) -> dict[str, Any]:
    """The headers of an answer, by reference."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
