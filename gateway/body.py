"""Request bodies: read within limits of size and time, parsed as a JSON object or as a form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from compat.errors import BodyTooLarge, MalformedBody, UnsupportedMediaType, UploadStalled
from compat.fields import type_word
from compat.sources import Upload
from engines.errors import StorageFailed
from gateway.limits import Limits
from gateway.spooling import Spool

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
MOST_FILES: Final = 64
MOST_FIELDS: Final = 256
_CHARSETS: Final = (b"utf-8", b"utf8", b"us-ascii")
LARGEST_FIELD: Final = 1 << 20
"""Bytes of a part that is no file."""


@dataclass(frozen=True)
class Body:
    """A request's fields. Of a ``form`` they are strings and `Upload`s, several of a name in a list."""

    fields: dict[str, Any] = field(repr=False)
    form: bool = False


async def read_json(request: Request, limits: Limits) -> dict[str, Any]:
    """Read the body as a JSON object.

    The media type must be JSON: anything else could be sent by a foreign web page without asking. A large
    body waits on disk until it is there.

    Raises:
        UnsupportedMediaType, BodyTooLarge, UploadStalled, MalformedBody, StorageFailed
    """
    kind = _media_type(request)
    if not _is_json(kind):
        raise UnsupportedMediaType(kind, (JSON,))
    with Spool() as spool:
        async for chunk in _limited(request, limits):
            await spool.add(chunk)
        try:
            with memoryview(spool.whole()) as whole:
                body = orjson.loads(whole)
        except orjson.JSONDecodeError as error:
            raise MalformedBody(f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise MalformedBody(f"expected a JSON object, but got {type_word(body)} instead")
    return body


async def read_form(request: Request, limits: Limits) -> dict[str, Any]:
    """Read the body as a form; ``name[]`` is another spelling of ``name`` given several times.

    Files are spooled to disk while they come in.

    Raises:
        UnsupportedMediaType, BodyTooLarge, UploadStalled, MalformedBody, StorageFailed
    """
    kind = _media_type(request)
    if kind != FORM or not _is_plain(request):
        raise UnsupportedMediaType(request.headers.get("content-type", ""), (FORM,))
    parser = MultiPartParser(
        request.headers,
        _limited(request, limits),
        max_files=MOST_FILES,
        max_fields=MOST_FIELDS,
        max_part_size=LARGEST_FIELD,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        # The parser raises KeyError where the media type names no boundary.
        reason = error.message if isinstance(error, MultiPartException) else "no boundary"
        raise MalformedBody(f"the form cannot be read: {reason}") from error
    except OSError as error:  # the disk that files are put aside on
        raise StorageFailed("written", error.strerror or str(error)) from error
    try:
        return await _fields(form, limits)
    finally:
        await form.close()


async def read_body(request: Request, limits: Limits) -> Body:
    """Read the body as what its media type says: JSON or a form.

    Raises:
        UnsupportedMediaType, BodyTooLarge, UploadStalled, MalformedBody, StorageFailed
    """
    kind = _media_type(request)
    if kind == FORM:
        return Body(await read_form(request, limits), form=True)
    if not _is_json(kind):
        raise UnsupportedMediaType(kind, (JSON, FORM))
    return Body(await read_json(request, limits))


async def _fields(form: FormData, limits: Limits) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        part: str | Upload = value if isinstance(value, str) else await _upload(value, limits)
        plain = name.removesuffix("[]")
        if plain not in fields:
            fields[plain] = part
        elif isinstance(fields[plain], list):
            fields[plain].append(part)
        else:
            fields[plain] = [fields[plain], part]
    return fields


async def _upload(file: UploadFile, limits: Limits) -> Upload:
    if file.size is not None and file.size > limits.file:
        raise BodyTooLarge(file.size, limits.file)
    return Upload(await file.read(), file.filename or "", file.content_type or "")


async def _limited(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body's chunks; a body that says it is too large is refused before any is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body:
        raise BodyTooLarge(int(declared), limits.body)
    size = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(limits.pause):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise UploadStalled(limits.pause) from None
        if chunk is None:
            return
        size += len(chunk)
        if size > limits.body:
            raise BodyTooLarge(size, limits.body)
        yield chunk


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_plain(request: Request) -> bool:
    """Whether a form's texts are UTF-8: the parser believes any charset of Python's, and some of them
    make text that is none."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    return options.get(b"charset", b"utf-8").lower() in _CHARSETS


def _is_json(kind: str) -> bool:
    return kind == JSON or kind.endswith("+json")
