"""What every route reads and answers: the table that the OpenAPI document is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from compat import errors
from compat.mapped import Operation
from engines import errors as engine_errors
from gateway.answering import FALLBACK_HEADER
from gateway.deadlines import HEADER
from gateway.delivery import PICTURES_PATH
from gateway.idempotency import REPLAYED_HEADER
from gateway.openapi import failures
from gateway.openapi.failures import Failures
from gateway.openapi.shapes import event, reference
from gateway.openapi.wishes import WISHES
from gateway.preferences import APPLIED_HEADER
from gateway.under_way import RATE

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
EVENTS: Final = "text/event-stream"
BINARY: Final[Mapping[str, Any]] = {"type": "string", "format": "binary"}
PICTURE_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")


_TIMEOUT: Final[Mapping[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "description": "Seconds after which a call that is not finished is ended; as `timeout` in the body.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
    "example": 600,
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One of a route's good answers: a schema for each media type, and headers beyond those of every
    answer."""

    description: str
    content: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    links: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a route reads and answers.

    ``body`` has the name of a schema for each media type; ``parameters`` are those beyond the path's
    and the query's, which are the route's own; ``keyless`` routes answer without a key.
    """

    answers: Mapping[int, Answer]
    failures: Failures = ()
    body: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[Mapping[str, Any], ...] = ()
    keyless: bool = False


def _json(shape: str, description: str, **links: Mapping[str, Any]) -> Mapping[int, Answer]:
    return {200: Answer(description=description, content={JSON: reference(shape)}, links=links)}


def _later(*others: Mapping[str, Any]) -> Answer:
    """The answer to a call that is answered later; some routes have other reasons for a 202."""
    schemas = (*others, reference("JobObject"))
    return Answer(
        description="It is answered later, as was preferred."
        + (" Or: the model was asleep, and is being loaded now." if others else ""),
        content={JSON: {"anyOf": list(schemas)} if others else schemas[0]},
        headers=("Location", APPLIED_HEADER, REPLAYED_HEADER, *RATE, *(("Retry-After",) if others else ())),
        links={
            "job": _link("jobs_retrieve", "job_id", "id"),
            "result": _link("jobs_result", "job_id", "id"),
            "cancellation": _link("jobs_cancel", "job_id", "id"),
            "deletion": _link("jobs_delete", "job_id", "id"),
        },
    )


def _link(operation: str, parameter: str, place: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": {parameter: f"$response.body#/{place}"}}


def _images(operation: Operation, *names: str) -> Described:
    """A route that draws. ``names`` are those of its schemas, in JSON and in a form."""
    content: dict[str, Mapping[str, Any]] = {JSON: reference("ImagesResponse")}
    if operation is not Operation.VARIATION:
        stream = (
            event("PartialImage", f"{operation}.partial_image"),
            event("CompletedImage", f"{operation}.completed"),
            event("StreamError", "error"),
        )
        content[EVENTS] = {"oneOf": list(stream)}
    drawn = "The pictures; with `stream` an event for each picture of the way, and one for the last."
    return Described(
        answers={
            200: Answer(
                description=drawn,
                content=content,
                headers=(FALLBACK_HEADER, APPLIED_HEADER, REPLAYED_HEADER, *RATE),
            ),
            202: _later(),
        },
        failures=failures.IMAGES if operation is Operation.GENERATION else failures.PICTURES,
        body=dict(zip((JSON, FORM), names, strict=True)),
        parameters=(_TIMEOUT, *WISHES),
    )


def _azure(described: Described) -> Described:
    version = {
        "name": "api-version",
        "in": "query",
        "description": "Azure's clients send it; it changes nothing.",
        "schema": {"type": "string"},
    }
    return Described(
        answers=described.answers,
        failures=described.failures,
        body=described.body,
        parameters=(*described.parameters, version),
    )


def _native_generate(*more: type[BaseException]) -> Described:
    stream = (
        event("WakingEvent", "waking"),
        event("ProgressEvent", "progress"),
        event("PreviewEvent", "preview"),
        event("Generation", "completed"),
        event("StreamError", "error"),
    )
    drawn = "The pictures; events with `stream`, or where the request's Accept header has their media type."
    return Described(
        answers={
            200: Answer(
                description=drawn,
                content={JSON: reference("Generation"), EVENTS: {"oneOf": list(stream)}},
                headers=(APPLIED_HEADER, REPLAYED_HEADER, *RATE),
            ),
            202: _later(reference("Loading")),
        },
        failures=(*failures.NATIVE_DRAWING, *more),
        body={JSON: "NativeRequest"},
        parameters=(_TIMEOUT, *WISHES),
    )


def _picture(*, head: bool) -> Described:
    headers = ("ETag", "Accept-Ranges", "Cache-Control")
    content = {} if head else dict.fromkeys(PICTURE_TYPES, BINARY)
    asked = ("Range", "bytes=0-1023"), ("If-Range", '"an-etag"'), ("If-None-Match", '"an-etag"')
    return Described(
        answers={
            200: Answer(description="The picture.", content=content, headers=headers),
            206: Answer(description="A part of it.", content=content, headers=(*headers, "Content-Range")),
            304: Answer(description="The client has it already.", headers=headers),
        },
        failures=(errors.PictureGone, errors.RangeNotSatisfiable, *failures.STORED),
        parameters=tuple(
            {"name": name, "in": "header", "schema": {"type": "string"}, "example": example}
            for name, example in asked
        ),
        keyless=True,
    )


def _told(done: str, failure: type[BaseException]) -> Described:
    """A route that changes where a model stands."""
    under_way = Answer(
        description="Not yet.", content={JSON: reference("Health")}, headers=("Retry-After", "Location")
    )
    return Described(
        answers={**_json("Health", done), 202: under_way},
        failures=(*failures.NATIVE, *failures.QUERY, failure),
    )


def _requests(path: str, *more: type[BaseException]) -> Mapping[tuple[str, str], Described]:
    """The routes of the requests that are under way."""
    one = (*more, *failures.REQUEST)
    return {
        ("get", path): Described(answers=_json("RequestList", "The caller's own requests."), failures=more),
        ("get", f"{path}/{{request_id}}"): Described(
            answers=_json("RequestRow", "How far it has come."), failures=one
        ),
        ("delete", f"{path}/{{request_id}}"): Described(
            answers=_json("RequestRow", "It is ended, within a step."), failures=one
        ),
    }


_GENERATION: Final = _images(Operation.GENERATION, "GenerationRequest", "GenerationForm")
_EDIT: Final = _images(Operation.EDIT, "EditRequest", "EditForm")
_VARIATION: Final = _images(Operation.VARIATION, "VariationRequest", "VariationForm")
_MODELS: Final = Described(answers=_json("ModelList", "Every model."))
_SCHEMA: Final = _json("ModelSchema", "What the model accepts.")
_DOCUMENT: Final = {200: Answer(description="An OpenAPI 3.1 document.", content={JSON: {"type": "object"}})}
_RESULT: Final = Described(
    answers={
        200: Answer(
            description="What the call is answered with.",
            content={JSON: {"anyOf": [reference("ImagesResponse"), reference("Generation")]}},
        ),
        202: Answer(
            description="There is no answer: the job has not ended, or was cancelled.",
            content={JSON: reference("JobObject")},
            headers=("Location",),
        ),
    },
    failures=(*failures.JOB, *failures.PICTURES),
)
_ID: Final = "$response.body#/id"
_FILE_LINKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "record": _link("files_retrieve", "file_id", "id"),
    "content": _link("files_content", "file_id", "id"),
    "deletion": _link("files_delete", "file_id", "id"),
    "batch": {
        "operationId": "batches_create",
        "requestBody": {
            "input_file_id": _ID,
            "endpoint": "/v1/images/generations",
            "completion_window": "24h",
        },
    },
    "edit": {
        "operationId": "openai_edits",
        "requestBody": {"prompt": "a red fox in the snow", "images": [{"file_id": _ID}]},
    },
}
_BATCH_LINKS: Final = {
    "record": _link("batches_retrieve", "batch_id", "id"),
    "cancellation": _link("batches_cancel", "batch_id", "id"),
}
_FILE: Final[Failures] = (errors.FileNotStored, *failures.STORED)
_BATCH: Final[Failures] = (errors.BatchNotFound, *failures.STORED)

OPERATIONS: Final[Mapping[tuple[str, str], Described]] = MappingProxyType(
    {
        ("get", "/"): Described(answers=_json("Index", "What is where."), keyless=True),
        ("get", "/openapi.json"): Described(answers=_DOCUMENT, failures=(errors.ModelNotFound,)),
        ("post", "/v1/images/generations"): _GENERATION,
        ("post", "/v1/images/edits"): _EDIT,
        ("post", "/v1/images/variations"): _VARIATION,
        ("get", f"{PICTURES_PATH}/{{name}}"): _picture(head=False),
        ("head", f"{PICTURES_PATH}/{{name}}"): _picture(head=True),
        ("post", "/openai/deployments/{model}/images/generations"): _azure(_GENERATION),
        ("post", "/openai/deployments/{model}/images/edits"): _azure(_EDIT),
        ("post", "/openai/deployments/{model}/images/variations"): _azure(_VARIATION),
        ("get", "/openai/models"): _azure(_MODELS),
        ("get", "/v1/models"): _MODELS,
        ("get", "/v1/models/{model}"): Described(
            answers=_json("Model", "The model."), failures=(errors.ModelNotFound,)
        ),
        ("post", "/v1/files"): Described(
            answers=_json("StoredFile", "The file's record.", **_FILE_LINKS),
            failures=(*failures.BODY, *failures.FIELDS, *failures.STORED),
            body={FORM: "FileForm"},
        ),
        ("get", "/v1/files"): Described(
            answers=_json("FileList", "A page of files."), failures=(*failures.QUERY, *failures.STORED)
        ),
        ("get", "/v1/files/{file_id}"): Described(
            answers=_json("StoredFile", "The file's record."), failures=_FILE
        ),
        ("get", "/v1/files/{file_id}/content"): Described(
            answers={
                200: Answer(description="The file's bytes.", content={"application/octet-stream": BINARY})
            },
            failures=_FILE,
        ),
        ("delete", "/v1/files/{file_id}"): Described(
            answers=_json("DeletedFile", "It is forgotten."), failures=_FILE
        ),
        ("post", "/v1/batches"): Described(
            answers=_json("Batch", "The batch.", **_BATCH_LINKS),
            failures=(*failures.BODY, *failures.FIELDS, *_FILE),
            body={JSON: "BatchRequest"},
        ),
        ("get", "/v1/batches"): Described(
            answers=_json("BatchList", "A page of batches."), failures=(*failures.QUERY, *failures.STORED)
        ),
        ("get", "/v1/batches/{batch_id}"): Described(answers=_json("Batch", "The batch."), failures=_BATCH),
        ("post", "/v1/batches/{batch_id}/cancel"): Described(
            answers=_json("Batch", "The batch."), failures=(errors.BatchEnded, *_BATCH)
        ),
        ("get", "/v1/jobs"): Described(
            answers=_json("JobPage", "A page of jobs."), failures=(*failures.QUERY, *failures.STORED)
        ),
        ("get", "/v1/jobs/{job_id}"): Described(
            answers=_json("JobObject", "The job."), failures=failures.JOB
        ),
        ("get", "/v1/jobs/{job_id}/result"): _RESULT,
        ("post", "/v1/jobs/{job_id}/cancel"): Described(
            answers=_json("JobObject", "The job."), failures=(errors.JobEnded, *failures.JOB)
        ),
        ("delete", "/v1/jobs/{job_id}"): Described(
            answers=_json("DeletedJob", "It is forgotten."), failures=failures.JOB
        ),
        ("get", "/kandinsky-{model}/v1/schema"): Described(answers=_SCHEMA, failures=failures.NATIVE_REMOTE),
        ("post", "/kandinsky-{model}/v1/generate"): _native_generate(),
        ("get", "/kandinsky-{model}/v1/health"): Described(
            answers=_json("Health", "Where the model stands."), failures=failures.NATIVE_REMOTE
        ),
        ("post", "/kandinsky-{model}/v1/warm"): _told("It is ready.", engine_errors.LoadFailed),
        ("post", "/kandinsky-{model}/v1/sleep"): _told("It sleeps.", engine_errors.EngineLost),
        ("get", "/kandinsky-{model}/v1/models"): Described(
            answers=_json("ModelRows", "The model."), failures=failures.NATIVE
        ),
        ("get", "/kandinsky-{model}/v1/openapi.json"): Described(answers=_DOCUMENT, failures=failures.NATIVE),
        **_requests("/kandinsky-{model}/v1/requests", *failures.NATIVE),
        **_requests("/requests"),
        ("get", "/schema"): Described(answers=_SCHEMA, failures=(*failures.NATIVE_REMOTE, *failures.ROOT)),
        ("post", "/generate"): _native_generate(*failures.ROOT),
        ("get", "/health"): Described(
            answers={
                200: Answer(
                    description="Where the model stands, or every model.",
                    content={JSON: {"anyOf": [reference("Health"), reference("EveryHealth")]}},
                )
            },
            failures=failures.NATIVE_REMOTE,
            keyless=True,
        ),
        ("get", "/models"): Described(answers=_json("ModelRows", "Every model.")),
    }
)
"""By method and path; a route that is not here is an error when the document is made."""
