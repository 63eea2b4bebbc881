"""Calls in the form in which they can be sent to another server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import pybase64

from compat.forms import field_value
from compat.mapped import Operation
from compat.parameters import TIMEOUT
from compat.sources import Upload
from compat.vocabulary import READERS
from gateway.image_sources import ReadFile

SIGNATURES: Final = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))
UNKNOWN: Final = "application/octet-stream"

PATHS: Final[Mapping[Operation, str]] = MappingProxyType(
    {
        Operation.GENERATION: "/images/generations",
        Operation.EDIT: "/images/edits",
        Operation.VARIATION: "/images/variations",
    }
)


@dataclass(frozen=True)
class ImagesCall:
    """What a caller sent: a JSON object, or a form of texts and files.

    A form's values are ``str``, `Upload`, or lists of them.
    """

    operation: Operation
    body: Mapping[str, Any] = field(repr=False)
    form: bool = False

    @property
    def path(self) -> str:
        """The route, from the base URL on."""
        return PATHS[self.operation]

    @property
    def stream(self) -> bool:
        """Whether events are asked for."""
        value = self.body.get("stream")
        return (field_value("stream", value, field="stream") if self.form else value) is True

    def without_timeout(self) -> tuple[ImagesCall, float | None]:
        """The call without the field that is kept here, and its seconds.

        Raises:
            InvalidParameter
        """
        body, seconds = _without_timeout(self.body, form=self.form)
        return replace(self, body=body), seconds

    def body_for(self, model: str) -> dict[str, Any]:
        """The fields that are no files, with the other server's name for the model."""
        fields = {name: value for name, value in self.body.items() if not _uploads(value)}
        return fields | {"model": model}

    def files(self) -> list[tuple[str, tuple[str, bytes, str]]] | None:
        """The files of a form, under the names that the SDKs send; ``None`` in a JSON object."""
        if not self.form:
            return None
        return [
            (f"{name}[]" if isinstance(value, list) else name, _part(upload))
            for name, value in self.body.items()
            for upload in _uploads(value)
        ]


async def with_files_inside(call: ImagesCall, read_file: ReadFile) -> ImagesCall:
    """The call with the files that are stored here in it: the other server does not have them.

    Raises:
        FileNotStored: of the first that there is none of.
    """
    body = dict(call.body)
    if isinstance(images := body.get("images"), list):
        body["images"] = [await _inside(image, read_file) for image in images]
    if "mask" in body:
        body["mask"] = await _inside(body["mask"], read_file)
    return replace(call, body=body)


async def _inside(picture: Any, read_file: ReadFile) -> Any:
    if not isinstance(picture, dict) or not isinstance(picture.get("file_id"), str):
        return picture
    data = await read_file(picture["file_id"])
    encoded = pybase64.b64encode_as_string(data)
    return {"image_url": f"data:{_kind(data) or UNKNOWN};base64,{encoded}"}


def _without_timeout(
    given: Mapping[str, Any], *, form: bool = False
) -> tuple[Mapping[str, Any], float | None]:
    """The fields that go on, and the time that is watched over here; the other server need not know it."""
    value = given.get(TIMEOUT)
    value = field_value(TIMEOUT, value, field=TIMEOUT) if form and value != "" else value
    seconds = None if value in (None, "") else float(READERS[TIMEOUT](TIMEOUT, value))
    return {name: each for name, each in given.items() if name != TIMEOUT}, seconds


def _uploads(value: object) -> list[Upload]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, Upload)]


def _part(upload: Upload) -> tuple[str, bytes, str]:
    """A file with a type that is right: OpenAI refuses a picture that is called an octet stream."""
    return upload.filename or "upload", upload.data, _kind(upload.data) or upload.content_type or UNKNOWN


def _kind(data: bytes) -> str | None:
    return next((kind for start, kind in SIGNATURES if data.startswith(start)), None)


class NativeRoute(StrEnum):
    """The native routes at the root of a gateway of this kind."""

    SCHEMA = "/schema"
    HEALTH = "/health"
    GENERATE = "/generate"


@dataclass(frozen=True)
class NativeCall:
    """A call of a native route; ``body`` is the one of ``/generate``, without the model's name.

    ``stream`` asks for events, as the caller did in the body or in a header.
    """

    route: NativeRoute
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    stream: bool = False

    def without_timeout(self) -> tuple[NativeCall, float | None]:
        """As `ImagesCall.without_timeout`."""
        if self.body is None:
            return self, None
        body, seconds = _without_timeout(self.body)
        return replace(self, body=body), seconds
