"""The HTTP application: middleware in its order, routers, and what every failure looks like.

Order, outermost first: `RequestContext` (ids, timing, last resort), `UnreadBody`, `CrossOrigin`,
`Authentication`, `Admission`, Starlette's own error handling with the handlers below, the routers.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from compat.errors import InvalidUrl, MethodNotAllowed
from engines.errors import EngineError, InvalidParameter
from gateway.admission import Admission
from gateway.answers import failure
from gateway.authentication import Authentication
from gateway.cross_origin import CrossOrigin
from gateway.middleware import RequestContext
from gateway.routes import azure, batches, documents, files, images, jobs, lives, models, native, requests
from gateway.routes.documents import DISTRIBUTION
from gateway.service import Service
from gateway.under_way import UnderWay
from gateway.unread import UnreadBody

_ROUTES: Final = (documents, images, azure, files, batches, jobs, models, native, lives, requests)
ROUTERS: Final = tuple(module.router for module in _ROUTES)


def create_app(service: Service, *, proxied: bool = False) -> FastAPI:
    """Assemble the application around a service; ``proxied`` says that it runs behind Serve's proxy."""
    app = FastAPI(
        title="Kandinsky gateway",
        version=version(DISTRIBUTION),
        description="Image models behind OpenAI's images API, and behind their own parameters.",
        # The document is a route of ours; FastAPI's pages for reading it load scripts from elsewhere.
        openapi_url=None,
        generate_unique_id_function=_operation_id,
    )
    under_way = UnderWay(lambda: service.settings)
    app.state.service = service
    app.state.under_way = under_way
    app.add_middleware(Admission, service=service, under_way=under_way)
    app.add_middleware(Authentication, settings=lambda: service.settings)
    app.add_middleware(CrossOrigin, settings=lambda: service.settings)
    app.add_middleware(UnreadBody)
    app.add_middleware(RequestContext, proxied=proxied)
    app.add_exception_handler(EngineError, _on_engine_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    # The model routes of OpenAI and the native prefix cannot collide: no native path starts with /v1.
    for router in ROUTERS:
        app.include_router(router)
    return app


def _operation_id(route: APIRoute) -> str:
    return "_".join(map(str, (*route.tags[:1], route.name)))


async def _on_engine_error(_: Request, error: Exception) -> Response:
    return failure(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = _methods(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(("OPTIONS", *allowed))})
        return failure(MethodNotAllowed(request.method, request.url.path, allowed))
    return failure(InvalidUrl(request.method, request.url.path))


def _methods(request: Request) -> tuple[str, ...]:
    """The methods of every route with this path; Starlette itself tells those of the first alone."""
    found: set[str] = set()
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE:
                found |= route.methods or set()
    return tuple(sorted(found))


async def _on_validation_error(_: Request, error: Exception) -> Response:
    """FastAPI's own validation, which only query parameters go through."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    return failure(InvalidParameter(str(first["loc"][-1]), str(first["msg"])))
