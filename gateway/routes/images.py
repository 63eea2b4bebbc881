"""OpenAI's image routes, and the addresses of finished pictures."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from compat.errors import PictureGone
from gateway import images
from gateway.delivery import PICTURES_PATH
from gateway.routes.dependencies import ServiceOf

router = APIRouter(tags=["openai"])


@router.post("/v1/images/generations")
async def generations(request: Request, service: ServiceOf) -> Response:
    """Draw from a prompt; a sleeping model holds the call until it is warm."""
    return await images.generate(request, service)


@router.post("/v1/images/edits")
async def edits(request: Request, service: ServiceOf) -> Response:
    """Edit pictures: with a mask what is transparent in it, without one the whole."""
    return await images.edit(request, service)


@router.post("/v1/images/variations")
async def variations(request: Request, service: ServiceOf) -> Response:
    """Draw a picture anew."""
    return await images.vary(request, service)


@router.api_route(f"{PICTURES_PATH}/{{name}}", methods=["GET", "HEAD"])
async def picture(service: ServiceOf, name: str) -> Response:
    """A finished picture, until its address expires; no key is needed."""
    found = await service.storage.picture(name)
    if found is None:
        raise PictureGone
    data, media_type = found
    headers = {"cache-control": "private, max-age=3600", "x-content-type-options": "nosniff"}
    return Response(data, media_type=media_type, headers=headers)
