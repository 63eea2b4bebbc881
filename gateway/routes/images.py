"""OpenAI's image routes, and the addresses of finished pictures."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from compat.mapped import Operation
from gateway import images
from gateway.body import read_body
from gateway.delivery import PICTURES_PATH, picture_answer
from gateway.routes.dependencies import ServiceOf

router = APIRouter(tags=["openai"])


@router.post("/v1/images/generations")
async def generations(request: Request, service: ServiceOf) -> Response:
    """Draw from a prompt; a sleeping model holds the call until it is warm."""
    return await images.answer(
        request, service, Operation.GENERATION, await read_body(request, service.settings.limits)
    )


@router.post("/v1/images/edits")
async def edits(request: Request, service: ServiceOf) -> Response:
    """Edit pictures: with a mask what is transparent in it, without one the whole."""
    return await images.answer(
        request, service, Operation.EDIT, await read_body(request, service.settings.limits)
    )


@router.post("/v1/images/variations")
async def variations(request: Request, service: ServiceOf) -> Response:
    """Draw a picture anew."""
    return await images.answer(
        request, service, Operation.VARIATION, await read_body(request, service.settings.limits)
    )


@router.get(f"{PICTURES_PATH}/{{name}}")
async def picture(request: Request, service: ServiceOf, name: str) -> Response:
    """A finished picture, until its address expires; no key is needed."""
    return await picture_answer(request, service, name)


@router.head(f"{PICTURES_PATH}/{{name}}")
async def picture_head(request: Request, service: ServiceOf, name: str) -> Response:
    """Whether a picture is still there, and how large it is."""
    return await picture_answer(request, service, name)
