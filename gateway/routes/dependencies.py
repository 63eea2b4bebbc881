"""What every route is handed: the service, and the request's body as a JSON object."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from gateway.body import read_json
from gateway.service import Service


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def _json_body(request: Request) -> dict[str, Any]:
    return await read_json(request, _service(request).settings.limits)


ServiceOf = Annotated[Service, Depends(_service)]
JsonBody = Annotated[dict[str, Any], Depends(_json_body)]
