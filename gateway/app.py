"""The HTTP application: middleware in its order, routers, and what every failure looks like.

Order, outermost first: `RequestContext` (ids, timing, last resort), `CrossOrigin`, `Authentication`,
Starlette's own error handling with the handlers below, the routers.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from compat.errors import InvalidUrl, MethodNotAllowed
from engines.errors import EngineError, InvalidParameter
from gateway.answers import failure
from gateway.authentication import Authentication
from gateway.cross_origin import CrossOrigin
from gateway.middleware import RequestContext
from gateway.routes import azure, batches, documents, files, images, models, native
from gateway.routes.documents import DISTRIBUTION
from gateway.service import Service


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
    app.state.service = service
    app.add_middleware(Authentication, settings=lambda: service.settings)
    app.add_middleware(CrossOrigin, settings=lambda: service.settings)
    app.add_middleware(RequestContext, proxied=proxied)
    app.add_exception_handler(EngineError, _on_engine_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    # The model routes of OpenAI and the native prefix cannot collide: no native path starts with /v1.
    app.include_router(documents.router)
    app.include_router(images.router)
    app.include_router(azure.router)
    app.include_router(files.router)
    app.include_router(batches.router)
    app.include_router(models.router)
    app.include_router(native.router)
    return app


def _operation_id(route: APIRoute) -> str:
    return "_".join(map(str, (*route.tags[:1], route.name)))


async def _on_engine_error(_: Request, error: Exception) -> Response:
    return failure(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": f"OPTIONS, {allowed}"})
        return failure(MethodNotAllowed(request.method, request.url.path, tuple(allowed.split(", "))))
    return failure(InvalidUrl(request.method, request.url.path))


async def _on_validation_error(_: Request, error: Exception) -> Response:
    """FastAPI's own validation, which only query parameters go through."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    return failure(InvalidParameter(str(first["loc"][-1]), str(first["msg"])))
