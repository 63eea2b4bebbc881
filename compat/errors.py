"""What every failure looks like on the wire: one table from error class to OpenAI's error object.

The statuses follow what clients do with them, not taste. OpenAI's SDKs repeat 408, 409, 429 and
every 5xx on their own, so a fault that repeating cannot cure is a 4xx, or says ``x-should-retry:
false``. Choices that could have gone another way:

* ``NotLoadable`` is 501: the client asked for a listed model, so it is not at fault, and this
  version will never open that checkpoint.
* ``LoadFailed`` is 503 with ``Retry-After`` (the back-off's rest), but not repeated by the SDK: who
  waits should read the reason at once.
* ``GenerationStopped`` is 499, as gRPC's "cancelled" is on its way over HTTP: somebody ended the run on
  purpose, and no client repeats a 4xx that it does not know, while some repeat a 503 whatever it says.
* ``DeadlineExceeded`` is 504 without repetition: the time was the caller's own wish.
* ``CallerBusy`` and ``TooManyJobs`` are 429, with ``Retry-After``: they speak of what the caller itself
  has under way.
* ``EngineBusy`` is 503 ``server_is_overloaded``, not 429, which speaks of the caller's own rate.
* A 5xx never has the type ``invalid_request_error``: LiteLLM takes that word, anywhere in the
  text, for a fault of the caller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from compat.remote_errors import (
    NativeRoutesAbsent,
    RemoteBadAnswer,
    RemoteFailure,
    RemoteKeyMissing,
    RemoteKeyRefused,
    RemoteLacks,
    RemoteRefusal,
    RemoteTimedOut,
    RemoteUnreachable,
    Said,
)
from engines.errors import (
    BrokenPicture,
    DeadlineExceeded,
    DeviceFailed,
    EngineBusy,
    EngineError,
    EngineFault,
    EngineLeaving,
    EngineLost,
    GenerationFailed,
    GenerationStopped,
    HostMemoryExhausted,
    InvalidImage,
    InvalidMask,
    InvalidParameter,
    InvalidRequest,
    LoadFailed,
    MissingParameter,
    ModelLoading,
    ModerationBlocked,
    NotLoadable,
    OutOfMemory,
    StorageFailed,
    Unavailable,
    UnknownModel,
    UnknownParameter,
    UnsupportedImageType,
)

SHORTEST_RETRY: Final = 1
LONGEST_RETRY: Final = 60
"""Seconds. Beyond a minute the SDKs disagree: some wait, some do not repeat, some repeat at once."""


class ModelNotFound(UnknownModel):
    """No model of this name, on the model routes: 404 there, where the images routes answer 400."""


class MalformedBody(InvalidRequest):
    """The request's body cannot be read as what its media type promises."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"We could not parse the body of your request: {self.reason}."


class UnsupportedMediaType(InvalidRequest):
    """The body comes in an encoding that the route does not read."""

    def __init__(self, given: str, accepted: Sequence[str]) -> None:
        super().__init__(given, tuple(accepted))
        self.given = given
        self.accepted = tuple(accepted)

    def __str__(self) -> str:
        accepted = " and ".join(repr(name) for name in self.accepted)
        return f"Unsupported content type: {self.given!r}. This API method only accepts {accepted} requests."


class BodyTooLarge(InvalidRequest):
    """The body is larger than allowed; both numbers are in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return f"Maximum content size limit ({self.limit}) exceeded ({self.size} bytes read)."


class UploadStalled(InvalidRequest):
    """The body stopped coming; ``seconds`` is how long it was waited for."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"The request's body stopped coming for {self.seconds:g} s."


class MissingKey(InvalidRequest):
    """The server wants an API key, and none came."""

    def __str__(self) -> str:
        return (
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )


class InvalidKey(InvalidRequest):
    """The API key is none of the server's; ``shown`` is as much of it as may be quoted."""

    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self.shown = shown

    def __str__(self) -> str:
        return f"Incorrect API key provided: {self.shown}."


class FileNotStored(InvalidRequest):
    """No file of this id is stored."""

    def __init__(self, file_id: str) -> None:
        super().__init__(file_id)
        self.file_id = file_id

    @property
    def parameter(self) -> str:
        return "file_id"

    def __str__(self) -> str:
        return f"No such File object: {self.file_id}"


class BatchNotFound(InvalidRequest):
    """There is no batch of this id."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(batch_id)
        self.batch_id = batch_id

    @property
    def parameter(self) -> str:
        return "batch_id"

    def __str__(self) -> str:
        return f"No batch found with id {self.batch_id!r}."


class BatchEnded(InvalidRequest):
    """A batch cannot be cancelled any more."""

    def __init__(self, batch_id: str, status: str) -> None:
        super().__init__(batch_id, status)
        self.batch_id = batch_id
        self.status = status

    def __str__(self) -> str:
        return f"Cannot cancel the batch {self.batch_id!r}: its status is {self.status!r}."


class JobNotFound(InvalidRequest):
    """There is no job of this id: it never was, or it was kept long enough."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    @property
    def parameter(self) -> str:
        return "job_id"

    def __str__(self) -> str:
        return f"No job found with id {self.job_id!r}."


class JobEnded(InvalidRequest):
    """A job cannot be cancelled any more."""

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(job_id, status)
        self.job_id = job_id
        self.status = status

    def __str__(self) -> str:
        return f"Cannot cancel the job {self.job_id!r}: its status is {self.status!r}."


class IdempotencyKeyReused(InvalidRequest):
    """The idempotency key has come with another request before."""

    def __str__(self) -> str:
        return (
            "This Idempotency-Key was used for another request. Send the very same request to have it "
            "repeated, or another key for a new one."
        )


class RequestNotFound(InvalidRequest):
    """The caller has no request of this id under way."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    @property
    def parameter(self) -> str:
        return "request_id"

    def __str__(self) -> str:
        return f"No request of yours with the id {self.request_id!r} is under way."


class CallerBusy(Unavailable):
    """The caller has as many requests under way as it may have at once."""

    def __init__(self, limit: int, retry_after_seconds: float) -> None:
        super().__init__(limit, retry_after_seconds)
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return (
            f"Rate limit reached: {self.limit} of your requests are under way, as many as may be at once. "
            f"Try again in {max(1, round(self.retry_after_seconds))} s."
        )


class TooManyJobs(Unavailable):
    """As many jobs of the caller as may wait are waiting."""

    retry_after_seconds = 10.0

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"Rate limit reached: {self.limit} of your jobs wait to be drawn, as many as may. "
            "Try again when some are done, or cancel some."
        )


class AnswerLost(Unavailable):
    """Who worked on the request has let go of it before there was an answer; sent again, it is worked on."""

    def __str__(self) -> str:
        return "This gateway had to let go of the request before it was answered. Send it again."


class PictureGone(InvalidRequest):
    """No picture is kept under this address: it never was, or it has expired."""

    def __str__(self) -> str:
        return "This picture does not exist, or its address has expired."


class RangeNotSatisfiable(InvalidRequest):
    """The bytes asked for lie behind the end; ``size`` is how many there are."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size

    def __str__(self) -> str:
        return f"The requested range is not satisfiable: there are {self.size} bytes."


class InvalidUrl(InvalidRequest):
    """There is no such route."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(method, path)
        self.method = method
        self.path = path

    def __str__(self) -> str:
        return f"Invalid URL ({self.method} {self.path})"


class MethodNotAllowed(InvalidRequest):
    """The route exists, for other methods."""

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__(method, path, tuple(allowed))
        self.method = method
        self.path = path
        self.allowed = tuple(allowed)

    def __str__(self) -> str:
        return f"Not allowed to {self.method} on {self.path}. Allowed: {', '.join(self.allowed)}."


class Unsupported(InvalidRequest):
    """A well-formed wish that this model, or this version, cannot fulfil."""

    def __init__(self, name: str | None, reason: str, code: str = "invalid_value") -> None:
        super().__init__(name, reason, code)
        self.name = name
        self.reason = reason
        self.code = code

    @property
    def parameter(self) -> str | None:
        return self.name

    def __str__(self) -> str:
        return self.reason


class InvalidSize(InvalidRequest):
    """An image size that the model does not make; ``reason`` is a sentence that says what it makes."""

    def __init__(self, size: str, reason: str) -> None:
        super().__init__(size, reason)
        self.size = size
        self.reason = reason

    @property
    def parameter(self) -> str:
        return "size"

    def __str__(self) -> str:
        return f"Invalid size {self.size!r}. {self.reason}"


class NamedModelLimit(InvalidRequest):
    """In strict use: what OpenAI's model of this name would not do, in its words; it names no field."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class WrongEncoding(InvalidRequest):
    """A picture comes under a name that belongs to the route's other encoding."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(name, hint)
        self.name = name
        self.hint = hint

    @property
    def parameter(self) -> str:
        return self.name.removesuffix("[]")

    def __str__(self) -> str:
        return f"Unknown parameter: {self.name!r}. {self.hint}"


@dataclass(frozen=True)
class ErrorRow:
    """A line of the table. ``retry`` false tells the SDKs not to repeat what they otherwise would."""

    status: int
    type: str
    code: str | None
    retry: bool = True


_CALLER: Final = "invalid_request_error"
_WISH: Final = "image_generation_user_error"
_SERVER: Final = "server_error"
_LATER: Final = "service_unavailable_error"

TABLE: Final[Mapping[type[BaseException], ErrorRow]] = MappingProxyType(
    {
        InvalidRequest: ErrorRow(400, _CALLER, None),
        UnknownModel: ErrorRow(400, _WISH, "invalid_value"),
        ModelNotFound: ErrorRow(404, _CALLER, "model_not_found"),
        UnknownParameter: ErrorRow(400, _CALLER, "unknown_parameter"),
        MissingParameter: ErrorRow(400, _CALLER, "missing_required_parameter"),
        InvalidParameter: ErrorRow(400, _CALLER, "invalid_value"),
        InvalidImage: ErrorRow(400, _WISH, "invalid_image_file"),
        InvalidSize: ErrorRow(400, _WISH, "invalid_value"),
        Unsupported: ErrorRow(400, _WISH, "invalid_value"),
        NamedModelLimit: ErrorRow(400, _CALLER, None),
        WrongEncoding: ErrorRow(400, _CALLER, "invalid_value"),
        MalformedBody: ErrorRow(400, _CALLER, None),
        UnsupportedMediaType: ErrorRow(415, _CALLER, "unsupported_content_type"),
        BodyTooLarge: ErrorRow(413, _CALLER, "body_too_large"),
        UnsupportedImageType: ErrorRow(400, _CALLER, "unsupported_file_mimetype"),
        InvalidMask: ErrorRow(400, _WISH, "invalid_mask_image_format"),
        UploadStalled: ErrorRow(408, _CALLER, "request_timeout"),
        MissingKey: ErrorRow(401, _CALLER, None),
        InvalidKey: ErrorRow(401, _CALLER, "invalid_api_key"),
        FileNotStored: ErrorRow(404, _CALLER, None),
        BatchNotFound: ErrorRow(404, _CALLER, None),
        JobNotFound: ErrorRow(404, _CALLER, None),
        JobEnded: ErrorRow(409, _CALLER, None, retry=False),
        IdempotencyKeyReused: ErrorRow(422, _CALLER, "idempotency_key_reused"),
        RequestNotFound: ErrorRow(404, _CALLER, "request_not_found"),
        BatchEnded: ErrorRow(409, _CALLER, None, retry=False),
        PictureGone: ErrorRow(404, _CALLER, None),
        RangeNotSatisfiable: ErrorRow(416, _CALLER, None),
        StorageFailed: ErrorRow(507, _SERVER, "storage_failed", retry=False),
        InvalidUrl: ErrorRow(404, _CALLER, None),
        MethodNotAllowed: ErrorRow(405, _CALLER, "method_not_supported"),
        NativeRoutesAbsent: ErrorRow(404, _CALLER, "native_routes_absent"),
        RemoteRefusal: ErrorRow(400, _CALLER, None),
        EngineFault: ErrorRow(500, _SERVER, None),
        NotLoadable: ErrorRow(501, _SERVER, "model_not_loadable", retry=False),
        LoadFailed: ErrorRow(503, _LATER, "model_load_failed", retry=False),
        ModerationBlocked: ErrorRow(400, _WISH, "moderation_blocked"),
        GenerationFailed: ErrorRow(500, _SERVER, "image_generation_failed"),
        BrokenPicture: ErrorRow(500, _SERVER, "broken_picture", retry=False),
        DeviceFailed: ErrorRow(500, _SERVER, "image_generation_failed"),
        OutOfMemory: ErrorRow(507, _SERVER, "out_of_memory", retry=False),
        HostMemoryExhausted: ErrorRow(507, _SERVER, "out_of_memory", retry=False),
        RemoteFailure: ErrorRow(502, _SERVER, None),
        RemoteBadAnswer: ErrorRow(502, _SERVER, "remote_bad_answer"),
        RemoteLacks: ErrorRow(501, _SERVER, "remote_not_served", retry=False),
        RemoteKeyMissing: ErrorRow(500, _SERVER, "remote_key_missing", retry=False),
        RemoteKeyRefused: ErrorRow(502, _SERVER, "remote_key_refused", retry=False),
        RemoteTimedOut: ErrorRow(504, _SERVER, "remote_timeout", retry=False),
        Unavailable: ErrorRow(503, _LATER, None),
        ModelLoading: ErrorRow(503, _LATER, "model_loading"),
        EngineBusy: ErrorRow(503, _LATER, "server_is_overloaded"),
        EngineLeaving: ErrorRow(503, _LATER, "engine_unavailable"),
        EngineLost: ErrorRow(503, _LATER, "engine_unavailable"),
        RemoteUnreachable: ErrorRow(503, _LATER, "remote_unreachable"),
        CallerBusy: ErrorRow(429, "rate_limit_error", "rate_limit_exceeded"),
        TooManyJobs: ErrorRow(429, "rate_limit_error", "rate_limit_exceeded"),
        AnswerLost: ErrorRow(503, _LATER, "engine_unavailable"),
        GenerationStopped: ErrorRow(499, _CALLER, "generation_stopped", retry=False),
        DeadlineExceeded: ErrorRow(504, _SERVER, "deadline_exceeded", retry=False),
        BaseException: ErrorRow(500, _SERVER, None),
    }
)


@dataclass(frozen=True)
class ErrorAnswer:
    """A failing answer: the HTTP status, OpenAI's error object, and headers that belong to it."""

    status: int
    body: dict[str, dict[str, str | None]]
    headers: dict[str, str]


def row_of(kind: type[BaseException]) -> ErrorRow:
    """The table's row for an error class: its own, or that of its nearest ancestor."""
    return next(TABLE[base] for base in kind.__mro__ if base in TABLE)


def render(error: BaseException, *, request_id: str | None = None) -> ErrorAnswer:
    """Render any failure. An error that is not of our tree says nothing of itself to the client."""
    if isinstance(error, RemoteRefusal | RemoteFailure):
        return _passed_on(error.said)
    row = row_of(type(error))
    known = isinstance(error, EngineError)
    return ErrorAnswer(
        status=row.status,
        body={
            "error": {
                "message": str(error) if known else _internal(request_id),
                "type": row.type,
                "param": error.parameter if isinstance(error, InvalidRequest) else None,
                "code": error.code if isinstance(error, InvalidParameter | Unsupported) else row.code,
            }
        },
        headers=_headers(error, row),
    )


def _passed_on(said: Said) -> ErrorAnswer:
    """Another server's error as it is, within what clients can cope with."""
    headers: dict[str, str] = {}
    if said.retry_after_seconds is not None:
        headers["Retry-After"] = _seconds(said.retry_after_seconds)
    if said.retry is not None:
        headers["x-should-retry"] = str(said.retry).lower()
    kind = _SERVER if said.status >= 500 and said.type == _CALLER else said.type
    error = {"message": said.message, "type": kind, "param": said.param, "code": said.code}
    return ErrorAnswer(status=said.status, body={"error": error}, headers=headers)


def _internal(request_id: str | None) -> str:
    quote = "" if request_id is None else f" Its log names the request {request_id}."
    return f"The server had an internal error while processing your request.{quote}"


def _headers(error: BaseException, row: ErrorRow) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = _seconds(error.retry_after_seconds)
    elif isinstance(error, LoadFailed):
        headers["Retry-After"] = _seconds(error.retry_after_seconds or LONGEST_RETRY)
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    elif isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if not row.retry:
        headers["x-should-retry"] = "false"
    return headers


def _seconds(wait: float) -> str:
    return str(min(LONGEST_RETRY, max(SHORTEST_RETRY, math.ceil(wait))))
