"""What routes are handed: the service, the requests under way, and the request's body as a JSON object."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from gateway.body import read_json
from gateway.service import Service
from gateway.under_way import UnderWay


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def _under_way(request: Request) -> UnderWay:
    under_way = request.app.state.under_way
    assert isinstance(under_way, UnderWay)
    return under_way


async def _json_body(request: Request) -> dict[str, Any]:
    return await read_json(request, _service(request).settings.limits)


ServiceOf = Annotated[Service, Depends(_service)]
UnderWayOf = Annotated[UnderWay, Depends(_under_way)]
JsonBody = Annotated[dict[str, Any], Depends(_json_body)]
