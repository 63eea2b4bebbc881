"""The fields of OpenAI's file and batch routes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final, Literal

from compat.fields import Reader, WrongType, choice, integer, json_object, text
from compat.forms import field_value
from compat.sources import Upload
from engines.errors import InvalidParameter, MissingParameter, UnknownParameter

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
Endpoint = Literal["/v1/images/generations", "/v1/images/edits"]

PURPOSE: Final[Reader[UploadPurpose]] = choice(
    "assistants", "batch", "fine-tune", "vision", "user_data", "evals"
)
ENDPOINT: Final[Reader[Endpoint]] = choice("/v1/images/generations", "/v1/images/edits")
WINDOW: Final = choice("24h")
ANCHOR: Final = choice("created_at")
KEPT_SECONDS: Final = integer(3600, 30 * 24 * 3600)
"""How long something is kept that expires."""
MOST_METADATA: Final = 16
METADATA_VALUE: Final = text(maximum=512)
_ID: Final = text()
_ANCHOR: Final = "expires_after[anchor]"
_SECONDS: Final = "expires_after[seconds]"

FILE_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": PURPOSE.schema,
        _ANCHOR: ANCHOR.schema,
        _SECONDS: KEPT_SECONDS.schema,
    },
    "required": ["file", "purpose"],
    "dependentRequired": {_ANCHOR: [_SECONDS]},
    "additionalProperties": False,
}
"""The form that uploads a file."""

BATCH_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "input_file_id": _ID.schema,
        "endpoint": ENDPOINT.schema,
        "completion_window": WINDOW.schema,
        "metadata": {
            "type": ["object", "null"],
            "maxProperties": MOST_METADATA,
            "additionalProperties": METADATA_VALUE.schema,
        },
        "output_expires_after": {
            "type": ["object", "null"],
            "properties": {"anchor": ANCHOR.schema, "seconds": KEPT_SECONDS.schema},
            "required": ["anchor", "seconds"],
            "additionalProperties": False,
        },
    },
    "required": ["input_file_id", "endpoint", "completion_window"],
    "additionalProperties": False,
}
"""The body that makes a batch."""


def uploaded(form: Mapping[str, Any]) -> tuple[Upload, UploadPurpose, int | None]:
    """The file of a form, what it is for, and for how many seconds it is kept, if not for ever.

    Raises:
        UnknownParameter, MissingParameter, InvalidParameter
    """
    _refuse_unknown(form, FILE_SCHEMA)
    file = form.get("file")
    if file is None:
        raise MissingParameter("file")
    if not isinstance(file, Upload):
        raise WrongType("file", "a file", "a string")
    if not form.get("purpose"):
        raise MissingParameter("purpose")
    return file, PURPOSE("purpose", form["purpose"]), _form_seconds(form)


def batch_fields(body: Mapping[str, Any]) -> tuple[str, Endpoint]:
    """The input file and the endpoint of a batch.

    Raises:
        UnknownParameter, MissingParameter, InvalidParameter
    """
    _refuse_unknown(body, BATCH_SCHEMA)
    for name in ("input_file_id", "endpoint", "completion_window"):
        if body.get(name) is None:
            raise MissingParameter(name)
    WINDOW("completion_window", body["completion_window"])
    return _ID("input_file_id", body["input_file_id"]), ENDPOINT("endpoint", body["endpoint"])


def metadata(value: object) -> dict[str, str] | None:
    """A batch's own notes.

    Raises:
        InvalidParameter
    """
    if value is None:
        return None
    given = json_object("metadata", value)
    if len(given) > MOST_METADATA:
        raise InvalidParameter("metadata", f"expected at most {MOST_METADATA} keys, but got {len(given)}.")
    return {key: METADATA_VALUE(f"metadata.{key}", each) for key, each in given.items()}


def output_seconds(value: object) -> int | None:
    """How long the output of a batch is kept, where it expires.

    Raises:
        InvalidParameter
    """
    if value is None:
        return None
    given = json_object("output_expires_after", value)
    _refuse_unknown(given, BATCH_SCHEMA["properties"]["output_expires_after"], prefix="output_expires_after.")
    ANCHOR("output_expires_after.anchor", given.get("anchor"))
    return KEPT_SECONDS("output_expires_after.seconds", given.get("seconds"))


def _form_seconds(form: Mapping[str, Any]) -> int | None:
    anchor, seconds = form.get(_ANCHOR), form.get(_SECONDS)
    if anchor is not None:
        ANCHOR(_ANCHOR, anchor)
        if seconds is None:
            raise MissingParameter(_SECONDS)
    if seconds is None:
        return None
    return KEPT_SECONDS(_SECONDS, field_value(_SECONDS, seconds, field=_SECONDS))


def _refuse_unknown(given: Mapping[str, Any], schema: Mapping[str, Any], *, prefix: str = "") -> None:
    known = tuple(schema["properties"])
    for name in given:
        if name not in known:
            raise UnknownParameter(prefix + name, difflib.get_close_matches(name, known, n=2), known)
