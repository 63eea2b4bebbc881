"""What a job draws, in a form that outlives the process: the call as it was mapped when it was accepted.

Nothing is read, fetched or mapped anew later, so a job that was accepted draws what the call would have
drawn then, whatever has become of aliases, files or addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

from pydantic import Base64Bytes, Field, JsonValue, TypeAdapter

from compat.forms import field_value
from compat.mapped import Mapped, Operation
from compat.sources import Upload
from engines.calls import EngineCall
from engines.schema import Frozen
from gateway.deadlines import least
from gateway.remote_calls import ImagesCall
from gateway.trials import seeded

PREVIEWS: Final = "partial_images"


class _Base(Frozen):
    """``base_url`` is what the client called this server, for the URLs of pictures."""

    model: str
    base_url: str


class OwnImages(_Base):
    """A call of OpenAI's, to a model of this gateway."""

    kind: Literal["own_images"] = "own_images"
    mapped: Mapped


class OwnNative(_Base):
    """A native call, to a model of this gateway."""

    kind: Literal["own_native"] = "own_native"
    call: EngineCall


class StoredUpload(Frozen):
    """A file of a form."""

    data: Base64Bytes
    filename: str
    content_type: str


class RemoteImages(_Base):
    """A call of OpenAI's, to a model of another server: what the caller sent, and how long it may take."""

    kind: Literal["remote_images"] = "remote_images"
    seconds: float | None = None
    operation: Operation
    form: bool
    fields: dict[str, JsonValue]
    files: dict[str, list[StoredUpload]]

    def as_call(self) -> ImagesCall:
        """The call as it was sent."""
        body: dict[str, Any] = dict(self.fields)
        for name, files in self.files.items():
            uploads = [Upload(file.data, file.filename, file.content_type) for file in files]
            body[name] = uploads if len(uploads) > 1 else uploads[0]
        return ImagesCall(self.operation, body, self.form)


class RemoteNative(_Base):
    """A native call, to a model of another server, and how long it may take."""

    kind: Literal["remote_native"] = "remote_native"
    seconds: float | None = None
    body: dict[str, JsonValue]


@dataclass(frozen=True)
class _Held:
    call: Annotated[OwnImages | OwnNative | RemoteImages | RemoteNative, Field(discriminator="kind")]


JobCall = OwnImages | OwnNative | RemoteImages | RemoteNative
_ADAPTER: Final = TypeAdapter(_Held)


async def written(call: JobCall) -> bytes:
    """A call as bytes; pictures make it large, so not on the event loop."""
    return await asyncio.to_thread(_ADAPTER.dump_json, _Held(call))


async def read(data: bytes) -> JobCall:
    """The call that was written."""
    return (await asyncio.to_thread(_ADAPTER.validate_json, data)).call


def remote_images(call: ImagesCall, *, model: str, base_url: str, seconds: float | None) -> RemoteImages:
    """The call of another server's model, without a wish for events, and the ``seconds`` it may take."""
    fields: dict[str, JsonValue] = {}
    files: dict[str, list[StoredUpload]] = {}
    for name, value in call.body.items():
        uploads = [
            each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Upload)
        ]
        if uploads:
            # Base64Bytes takes base64; the bytes are there already.
            files[name] = [
                StoredUpload.model_construct(
                    data=each.data, filename=each.filename, content_type=each.content_type
                )
                for each in uploads
            ]
        elif name != "stream":
            fields[name] = value
    return RemoteImages(
        model=model,
        base_url=base_url,
        seconds=seconds,
        operation=call.operation,
        form=call.form,
        fields=fields,
        files=files,
    )


def fixed(call: EngineCall, seconds: float | None) -> EngineCall:
    """The call with its seed fixed, so that one picture comes of it however often it is begun, and bounded
    by the ``seconds`` that drawing may take, if it is."""
    return replace(seeded(call), deadline_seconds=least(call.deadline_seconds, seconds))


def with_previews(mapped: Mapped, fields: Mapping[str, Any], *, form: bool) -> Mapped:
    """The call with the pictures of the way that it asks for; a job has a place for them, as a stream has."""
    told = tuple(each for each in mapped.ignored if each.field != PREVIEWS)
    if len(told) == len(mapped.ignored):
        return mapped
    value = fields[PREVIEWS]
    wanted = field_value(PREVIEWS, value, field=PREVIEWS) if form else value
    assert isinstance(wanted, int)  # it was read once before
    return replace(mapped, ignored=told, call=replace(mapped.call, previews=wanted))
