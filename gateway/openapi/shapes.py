"""The schemas of answers, made of the types that say what answers are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from compat import answers
from gateway import batch, files, listings, native_answers
from gateway.jobs import job

SHAPES: Final[Mapping[str, type]] = MappingProxyType(
    {
        shape.__name__: shape
        for shape in (
            answers.CompletedImage,
            answers.Error,
            answers.ImagesResponse,
            answers.Model,
            answers.ModelList,
            answers.PartialImage,
            answers.RemoteImagesResponse,
            answers.StreamError,
            batch.Batch,
            files.StoredFile,
            listings.BatchList,
            listings.DeletedFile,
            listings.FileList,
            job.DeletedJob,
            job.JobObject,
            job.JobPage,
            native_answers.EveryHealth,
            native_answers.Generation,
            native_answers.Health,
            native_answers.Index,
            native_answers.Loading,
            native_answers.ModelRows,
            native_answers.ModelSchema,
            native_answers.PreviewEvent,
            native_answers.ProgressEvent,
            native_answers.RequestList,
            native_answers.RequestRow,
            native_answers.WakingEvent,
        )
    }
)
"""The answers, by the name of their schema in the document."""


def reference(name: str) -> dict[str, Any]:
    """A schema of the document, by reference."""
    return {"$ref": f"#/components/schemas/{name}"}


def event(shape: str, *names: str) -> dict[str, Any]:
    """A server-sent event: its name, and data that is JSON of a shape."""
    return {
        "type": "object",
        "properties": {
            "event": {"type": "string", "enum": list(names)},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": reference(shape),
            },
        },
        "required": ["event", "data"],
    }


@cache
def schemas() -> Mapping[str, Any]:
    """Every schema of an answer, by name.

    They are open, whatever their types say: an answer may have more than a client knows.
    """
    mode: Literal["serialization"] = "serialization"
    adapters: list[tuple[str, Literal["serialization"], TypeAdapter[Any]]]
    adapters = [(name, mode, TypeAdapter(shape)) for name, shape in SHAPES.items()]
    _, found = TypeAdapter.json_schemas(
        adapters,
        ref_template="#/components/schemas/{model}",
        schema_generator=_Untitled,
    )
    described: Mapping[str, Any] = found["$defs"]
    return {name: _open(schema) for name, schema in described.items()}


class _Untitled(GenerateJsonSchema):
    """Fields have names; titles made of them say nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # its signature
        return False


def _open(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {word: rule for word, rule in schema.items() if word != "additionalProperties"}
