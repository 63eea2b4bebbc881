"""OpenAI's pages of a list: a cursor and a length."""

from __future__ import annotations

from typing import Any

from engines.errors import InvalidParameter


def page(records: list[dict[str, Any]], *, after: str | None, limit: int) -> dict[str, Any]:
    """At most ``limit`` of the records that follow the one with the id ``after``.

    Raises:
        InvalidParameter: there is none of this id.
    """
    ids = [record["id"] for record in records]
    if after is not None and after not in ids:
        raise InvalidParameter("after", f"there is nothing with the id {after!r}.")
    start = 0 if after is None else ids.index(after) + 1
    data = records[start : start + limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": start + limit < len(records),
    }
