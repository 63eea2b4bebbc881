"""The failing answers of a route, made of the one table of errors."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from compat import errors, remote_errors
from compat.errors import TABLE, row_of
from engines import errors as engine_errors
from engines.errors import Unavailable
from gateway.openapi.headers import EVERYWHERE, headers
from gateway.under_way import RATE

Failures = tuple[type[BaseException], ...]

EVERY_ROUTE: Final[Failures] = (errors.MissingKey, errors.InvalidKey, BaseException)
BODY: Final[Failures] = (
    errors.MalformedBody,
    errors.UnsupportedMediaType,
    errors.BodyTooLarge,
    errors.UploadStalled,
)
QUERY: Final[Failures] = (engine_errors.InvalidParameter,)
STORED: Final[Failures] = (engine_errors.StorageFailed,)
JOB: Final[Failures] = (errors.JobNotFound, engine_errors.StorageFailed)
FIELDS: Final[Failures] = (
    engine_errors.UnknownParameter,
    engine_errors.MissingParameter,
    engine_errors.InvalidParameter,
)
REMOTE: Final[Failures] = (
    remote_errors.RemoteFailure,
    remote_errors.RemoteBadAnswer,
    remote_errors.RemoteLacks,
    remote_errors.RemoteKeyMissing,
    remote_errors.RemoteKeyRefused,
    remote_errors.RemoteTimedOut,
    remote_errors.RemoteUnreachable,
)
DRAWING: Final[Failures] = (
    *BODY,
    *FIELDS,
    *REMOTE,
    *STORED,
    remote_errors.RemoteRefusal,
    engine_errors.InvalidImage,
    engine_errors.ModerationBlocked,
    engine_errors.UnsupportedImageType,
    engine_errors.EngineFault,
    engine_errors.NotLoadable,
    engine_errors.LoadFailed,
    engine_errors.GenerationFailed,
    engine_errors.BrokenPicture,
    engine_errors.DeviceFailed,
    engine_errors.OutOfMemory,
    engine_errors.Unavailable,
    engine_errors.ModelLoading,
    engine_errors.EngineBusy,
    engine_errors.EngineLeaving,
    engine_errors.EngineLost,
    engine_errors.HostMemoryExhausted,
    engine_errors.GenerationStopped,
    engine_errors.DeadlineExceeded,
    errors.CallerBusy,
    errors.TooManyJobs,
    errors.AnswerLost,
    errors.IdempotencyKeyReused,
)
IMAGES: Final[Failures] = (
    *DRAWING,
    engine_errors.UnknownModel,
    errors.InvalidSize,
    errors.Unsupported,
    errors.NamedModelLimit,
)
PICTURES: Final[Failures] = (
    *IMAGES,
    errors.WrongEncoding,
    engine_errors.InvalidMask,
    errors.FileNotStored,
)
NATIVE: Final[Failures] = (errors.ModelNotFound, remote_errors.NativeRoutesAbsent)
REQUEST: Final[Failures] = (errors.RequestNotFound,)
NATIVE_REMOTE: Final[Failures] = (*NATIVE, *REMOTE)
NATIVE_DRAWING: Final[Failures] = (*NATIVE, *DRAWING)
ROOT: Final[Failures] = (engine_errors.UnknownModel,)
ANYWHERE: Final[Failures] = (errors.InvalidUrl, errors.MethodNotAllowed, engine_errors.InvalidRequest)
"""What belongs to no route of the document: paths and methods that it does not have."""

STOPPED: Final = "Stopped"
"""The phrase of 499, which HTTP does not know."""
PASSED_ON: Final = (409, 422, 429)
"""Statuses of another server's refusals beside 400, whose meaning is theirs."""


def failing_answers(failures: Failures) -> dict[str, Any]:
    """The failing answers, by status, of a route that can fail in these ways."""
    by_status: dict[int, list[type[BaseException]]] = {}
    for kind in dict.fromkeys((*EVERY_ROUTE, *failures)):
        by_status.setdefault(row_of(kind).status, []).append(kind)
        if kind is remote_errors.RemoteRefusal:
            for status in PASSED_ON:
                by_status.setdefault(status, []).append(kind)
    return {str(status): answer(status, kinds) for status, kinds in sorted(by_status.items())}


def answer(status: int, kinds: Iterable[type[BaseException]]) -> dict[str, Any]:
    """One failing answer: what it can mean, its headers, and OpenAI's error object."""
    kinds = tuple(kinds)
    lines = [f"- {_named(kind)}: {_meaning(kind)}" for kind in kinds]
    return {
        "description": "\n".join([f"{_phrase(status)}.", "", *lines]),
        "headers": headers(*EVERYWHERE, *_own_headers(kinds)),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _phrase(status: int) -> str:
    return STOPPED if status == row_of(engine_errors.GenerationStopped).status else HTTPStatus(status).phrase


def _named(kind: type[BaseException]) -> str:
    row = row_of(kind)
    return f"`{row.type}`" + (f" / `{row.code}`" if row.code else "")


def _meaning(kind: type[BaseException]) -> str:
    if kind is BaseException:
        return "A fault of this server's own; its log names the request."
    return (kind.__doc__ or "").partition("\n\n")[0].replace("\n    ", " ").replace("``", "`")


def _own_headers(kinds: Iterable[type[BaseException]]) -> list[str]:
    names = []
    for kind in kinds:
        if issubclass(kind, Unavailable | engine_errors.LoadFailed | remote_errors.RemoteRefusal):
            names.append("Retry-After")
        if not row_of(kind).retry or issubclass(kind, remote_errors.RemoteRefusal):
            names.append("x-should-retry")
        if kind is errors.CallerBusy:
            names += RATE
        if kind is errors.RangeNotSatisfiable:
            names.append("Content-Range")
        if kind is errors.MethodNotAllowed:
            names.append("Allow")
    return list(dict.fromkeys(names))


def undocumented(failures: Iterable[Failures]) -> set[type[BaseException]]:
    """The rows of the table that none of these say."""
    return set(TABLE) - {kind for each in (*failures, EVERY_ROUTE, ANYWHERE) for kind in each}
