"""The one place where a finished OpenAI call becomes an answer: pictures inside it, behind URLs, or both."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from compat.errors import PictureGone
from compat.images import images_response
from compat.mapped import Ignored, Mapped
from engines.calls import EngineResult
from engines.errors import StorageFailed
from gateway.answers import json_answer
from gateway.public_url import public_url
from gateway.registry import ModelEntry
from gateway.service import Service
from gateway.stored_answer import stored_answer

PICTURES_PATH: Final = "/v1/images/files"


async def deliver(
    request: Request, service: Service, entry: ModelEntry, mapped: Mapped, result: EngineResult
) -> Response:
    """Answer a live call, as `answered`; pictures are kept as long as the settings say.

    Raises:
        StorageFailed: the pictures were drawn and cannot be kept.
    """
    base, seconds = public_url(request, service.settings, ""), service.settings.url_seconds
    return await answered(service, entry, mapped, result, base=base, seconds=seconds)


async def answered(
    service: Service, entry: ModelEntry, mapped: Mapped, result: EngineResult, *, base: str, seconds: float
) -> Response:
    """Render ``ImagesResponse``, publishing the pictures first where a URL is wanted, for ``seconds``.

    ``base`` is what the client calls this server. Where base64 is sent too, a storage that fails costs only
    the URLs, and the answer says so.

    Raises:
        StorageFailed: the pictures were drawn and cannot be kept.
    """
    urls: list[str] = []
    if mapped.delivery.url:
        try:
            urls = await _published(service, result, base=base, seconds=seconds)
        except StorageFailed as error:
            if not mapped.delivery.b64_json:
                raise
            told = Ignored("response_format", f"no URL: {error}")
            mapped = replace(mapped, ignored=(*mapped.ignored, told))
    return json_answer(images_response(entry.name, mapped, result, urls=urls))


async def picture_answer(request: Request, service: Service, name: str) -> Response:
    """Answer with a published picture.

    Raises:
        PictureGone: it never was, or has expired.
        RangeNotSatisfiable, StorageFailed
    """
    storage = service.storage
    found = storage.find(name)
    if found is None:
        raise PictureGone
    headers = {"cache-control": f"private, max-age={storage.remaining(found)}, immutable"}
    answer = await stored_answer(
        request, storage.objects, found.path, media_type=found.media_type, headers=headers
    )
    if answer is None:
        raise PictureGone
    return answer


async def _published(service: Service, result: EngineResult, *, base: str, seconds: float) -> list[str]:
    names = await asyncio.gather(
        *(service.storage.publish(image, seconds=seconds) for image in result.images)
    )
    return [f"{base}{PICTURES_PATH}/{name}" for name in names]
