"""Files and batches: what their requests may say, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compat.sources import Upload
from compat.stored_fields import BATCH_SCHEMA, batch_fields, metadata, output_seconds, uploaded
from engines.errors import InvalidRequest

FILE = {"file": Upload(b"{}", "b.jsonl"), "purpose": "batch"}
BATCH = {"input_file_id": "file-1", "endpoint": "/v1/images/edits", "completion_window": "24h"}
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"


def read_batch(body: dict[str, Any]) -> None:
    batch_fields(body)
    metadata(body.get("metadata"))
    output_seconds(body.get("output_expires_after"))


@pytest.mark.parametrize(
    ("more", "seconds"),
    [({}, None), ({SECONDS: "3600"}, 3600), ({ANCHOR: "created_at", SECONDS: "7200"}, 7200)],
)
def test_a_file_is_kept_as_long_as_its_form_says(more: dict[str, str], seconds: int | None) -> None:
    assert uploaded(FILE | more) == (FILE["file"], "batch", seconds)


@pytest.mark.parametrize(
    ("more", "parameter"),
    [
        ({"file": "text"}, "file"),
        ({"purpose": "batch_output"}, "purpose"),
        ({"name": "x"}, "name"),
        ({ANCHOR: "last_active_at", SECONDS: "3600"}, ANCHOR),
        ({ANCHOR: "created_at"}, SECONDS),
        ({SECONDS: "60"}, SECONDS),
        ({SECONDS: "9" * 5000}, SECONDS),
        ({SECONDS: ["3600", "3600"]}, SECONDS),
    ],
)
def test_a_form_is_refused_by_the_field_at_fault(more: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        uploaded(FILE | more)
    assert raised.value.parameter == parameter


@pytest.mark.parametrize(
    ("more", "parameter"),
    [
        ({"input_file_id": 1}, "input_file_id"),
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"completion_window": None}, "completion_window"),
        ({"priority": "high"}, "priority"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": dict.fromkeys(map(str, range(17)), "x")}, "metadata"),
        ({"output_expires_after": {"seconds": 3600}}, "output_expires_after.anchor"),
        ({"output_expires_after": {"anchor": "created_at", "days": 3}}, "output_expires_after.days"),
    ],
)
def test_a_batch_is_refused_by_the_field_at_fault_and_by_its_schema(
    more: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_batch(BATCH | more)
    assert raised.value.parameter == parameter
    assert not Draft202012Validator(BATCH_SCHEMA).is_valid(BATCH | more)


def test_a_whole_batch_is_taken() -> None:
    body = BATCH | {
        "metadata": {"a": "b"},
        "output_expires_after": {"anchor": "created_at", "seconds": 3600},
    }
    read_batch(body)
    Draft202012Validator(BATCH_SCHEMA).validate(body)
