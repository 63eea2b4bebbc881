"""The caller's requests that are under way: what they are at, and their end."""

from __future__ import annotations

from fastapi import APIRouter, Response

from gateway.answers import json_answer
from gateway.callers import caller
from gateway.native_answers import RequestList, RequestRow
from gateway.routes.dependencies import ServiceOf, UnderWayOf
from gateway.under_way import UnderWay

router = APIRouter(tags=["requests"])


@router.get("/requests")
async def list_requests(under_way: UnderWayOf) -> Response:
    """The caller's own requests, of all models."""
    return json_answer(_all(under_way))


@router.get("/requests/{request_id}")
async def retrieve(under_way: UnderWayOf, request_id: str) -> Response:
    """One of the caller's requests."""
    return json_answer(_one(under_way, request_id))


@router.delete("/requests/{request_id}")
async def stop(under_way: UnderWayOf, request_id: str) -> Response:
    """End one of the caller's requests; who waits for its answer gets an error."""
    return json_answer(_stopped(under_way, request_id))


@router.get("/kandinsky-{model}/v1/requests")
async def list_of_model(service: ServiceOf, under_way: UnderWayOf, model: str) -> Response:
    """The caller's own requests to the model."""
    return json_answer(_all(under_way, service.models.native(model).name))


@router.get("/kandinsky-{model}/v1/requests/{request_id}")
async def retrieve_of_model(
    service: ServiceOf, under_way: UnderWayOf, model: str, request_id: str
) -> Response:
    """One of the caller's requests to the model."""
    return json_answer(_one(under_way, request_id, service.models.native(model).name))


@router.delete("/kandinsky-{model}/v1/requests/{request_id}")
async def stop_of_model(service: ServiceOf, under_way: UnderWayOf, model: str, request_id: str) -> Response:
    """End one of the caller's requests to the model; who waits for its answer gets an error."""
    return json_answer(_stopped(under_way, request_id, service.models.native(model).name))


def _all(under_way: UnderWay, model: str | None = None) -> RequestList:
    return {"object": "list", "data": [each.row() for each in under_way.of(caller.get(), model)]}


def _one(under_way: UnderWay, identity: str, model: str | None = None) -> RequestRow:
    return under_way.find(caller.get(), identity, model)[0].row()


def _stopped(under_way: UnderWay, identity: str, model: str | None = None) -> RequestRow:
    found = under_way.find(caller.get(), identity, model)
    for request in found:
        request.stop()
    return found[0].row()
