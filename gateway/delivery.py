"""The one place where a finished OpenAI call becomes an answer: pictures inside it, behind URLs, or both."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from compat.images import images_response
from compat.mapped import Mapped
from engines.calls import EngineResult
from gateway.answers import json_answer
from gateway.public_url import public_url
from gateway.registry import ModelEntry
from gateway.service import Service

PICTURES_PATH: Final = "/v1/images/files"


async def deliver(
    request: Request, service: Service, entry: ModelEntry, mapped: Mapped, result: EngineResult
) -> Response:
    """Render ``ImagesResponse``, publishing the pictures first where a URL is wanted.

    Raises:
        StorageFailed: the pictures were drawn and cannot be kept.
    """
    urls: list[str] = []
    if mapped.delivery.url:
        seconds = service.settings.url_seconds
        names = await asyncio.gather(
            *(service.storage.publish(image, seconds=seconds) for image in result.images)
        )
        urls = [public_url(request, service.settings, f"{PICTURES_PATH}/{name}") for name in names]
    return json_answer(images_response(entry.name, mapped, result, urls=urls))
