"""A batch of image calls as data: OpenAI's ``Batch``, its input's lines, its output's lines."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, Final, Literal

import orjson
from pydantic import JsonValue

from compat.stored_fields import Endpoint
from engines.schema import Frozen

Status = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]

WINDOW_SECONDS: Final = 24 * 3600
MOST_LINES: Final = 50_000
MOST_ERRORS: Final = 100
"""How many faults of an input are told."""
ENDED: Final = frozenset({"failed", "completed", "expired", "cancelled"})


class BatchFault(Frozen):
    """What is wrong with an input file; ``line`` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Faults(Frozen):
    """OpenAI's list of faults."""

    object: Literal["list"] = "list"
    data: tuple[BatchFault, ...]


class Counts(Frozen):
    """How many lines there are, and how they went."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(Frozen):
    """A batch's record; times in Unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: Endpoint
    errors: Faults | None = None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: Status = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: Counts = Counts()
    metadata: dict[str, str] | None = None
    output_seconds: int | None = None
    """How long the output files are kept; not part of OpenAI's object."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

    def moved(self, status: Status, **changes: Any) -> Batch:
        """The batch in another state, with the time at which it came there."""
        return self.model_copy(update={"status": status, f"{status}_at": int(time.time()), **changes})

    def as_json(self) -> dict[str, Any]:
        """OpenAI's object."""
        return self.model_dump(mode="json", exclude={"output_seconds"})


def new_batch(
    *, endpoint: Endpoint, input_file_id: str, metadata: dict[str, str] | None, output_seconds: int | None
) -> Batch:
    """A batch that nobody has looked into."""
    now = int(time.time())
    return Batch(
        id=f"batch_{secrets.token_hex(12)}",
        endpoint=endpoint,
        input_file_id=input_file_id,
        created_at=now,
        expires_at=now + WINDOW_SECONDS,
        metadata=metadata,
        output_seconds=output_seconds,
    )


class Line(Frozen):
    """One call of a batch."""

    custom_id: str
    body: dict[str, JsonValue]


class Outcome(Frozen):
    """What became of a line: the answer that the live route would have given."""

    custom_id: str
    status_code: int
    request_id: str
    body: JsonValue

    @property
    def failed(self) -> bool:
        """Whether the line belongs to the error file."""
        return self.status_code >= 400

    def as_json(self) -> bytes:
        """A line of the output or error file."""
        response = {"status_code": self.status_code, "request_id": self.request_id, "body": self.body}
        return orjson.dumps(
            {
                "id": f"batch_req_{self.request_id.removeprefix('req_')}",
                "custom_id": self.custom_id,
                "response": response,
                "error": None,
            }
        )


def expired_line(custom_id: str) -> bytes:
    """The error line of a call that the batch did not come to in its time."""
    message = "This request could not be executed before the completion window expired."
    return orjson.dumps(
        {
            "id": f"batch_req_{secrets.token_hex(12)}",
            "custom_id": custom_id,
            "response": None,
            "error": {"code": "batch_expired", "message": message},
        }
    )


def read_lines(data: bytes, endpoint: Endpoint) -> tuple[list[Line], list[BatchFault]]:
    """The lines of an input file, and every fault found in it."""
    lines: list[Line] = []
    faults: list[BatchFault] = []
    seen: set[str] = set()
    rows = [row for row in data.split(b"\n") if row.strip()]
    if not rows:
        return [], [BatchFault(code="empty_file", message="The input file has no lines.")]
    if len(rows) > MOST_LINES:
        message = f"The input file has {len(rows)} lines; at most {MOST_LINES} are accepted."
        return [], [BatchFault(code="too_many_lines", message=message)]
    for number, row in enumerate(rows, start=1):
        found = _read_line(row, endpoint, seen)
        if isinstance(found, Line):
            seen.add(found.custom_id)
            lines.append(found)
        elif len(faults) < MOST_ERRORS:
            faults.append(found.model_copy(update={"line": number}))
    return lines, faults


def _read_line(row: bytes, endpoint: Endpoint, seen: set[str]) -> Line | BatchFault:
    try:
        given = orjson.loads(row)
    except orjson.JSONDecodeError as error:
        return BatchFault(code="invalid_json_line", message=f"This line is not valid JSON: {error}.")
    if not isinstance(given, dict):
        return BatchFault(code="invalid_json_line", message="This line is not a JSON object.")
    custom_id = given.get("custom_id")
    checks: Sequence[tuple[bool, str, str, str]] = (
        (
            isinstance(custom_id, str) and custom_id != "",
            "custom_id",
            "missing_required_parameter",
            "'custom_id' must be a string that is not empty.",
        ),
        (
            custom_id not in seen,
            "custom_id",
            "duplicate_custom_id",
            f"The custom_id {custom_id!r} occurs more than once.",
        ),
        (given.get("method") == "POST", "method", "invalid_method", "'method' must be 'POST'."),
        (
            given.get("url") == endpoint,
            "url",
            "mismatched_endpoint",
            f"'url' must be the batch's endpoint, {endpoint!r}.",
        ),
        (
            isinstance(given.get("body"), dict),
            "body",
            "missing_required_parameter",
            "'body' must be an object.",
        ),
    )
    for passed, param, code, message in checks:
        if not passed:
            return BatchFault(code=code, message=message, param=param)
    return Line(custom_id=str(custom_id), body=given["body"])
