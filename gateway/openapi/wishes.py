"""The request headers of calls that draw, by which a client says how it wants to be answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway import idempotency, preferences, webhooks


def _header(name: str, description: str, **schema: object) -> Mapping[str, Any]:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string", **schema},
    }


WISHES: Final = (
    _header(
        preferences.HEADER,
        "`respond-async`: answer with a job at once, or with `respond-async, wait=SECONDS` where the call is "
        "not done by then (RFC 7240). A stream is a stream in any case.",
    ),
    _header(
        idempotency.HEADER,
        "Names the request: sent again, it is not worked on again, but answered as it was the first time.",
        minLength=1,
        maxLength=idempotency.LONGEST_KEY,
    ),
    _header(webhooks.HEADER, "With `respond-async`: the address that is told when the job has ended."),
)
