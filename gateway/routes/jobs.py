"""The routes of calls that are answered later."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from gateway.answers import json_answer
from gateway.jobs.job import JOBS_PATH
from gateway.routes.dependencies import ServiceOf

router = APIRouter(prefix=JOBS_PATH, tags=["jobs"])


@router.get("")
async def list_jobs(
    service: ServiceOf, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> Response:
    """The jobs, the newest first, without their results."""
    return json_answer(await service.jobs.page(after=after, limit=limit))


@router.get("/{job_id}")
async def retrieve(service: ServiceOf, job_id: str) -> Response:
    """Where a job stands, and its result."""
    return json_answer(await service.jobs.shown(await service.jobs.get(job_id)))


@router.get("/{job_id}/result")
async def result(service: ServiceOf, job_id: str) -> Response:
    """What the call is answered with, its status too; the job with 202 while there is no answer."""
    job = await service.jobs.get(job_id)
    answer = await service.jobs.answer(job)
    if answer is None:
        return json_answer(await service.jobs.shown(job), 202, Location=job.path)
    return json_answer(answer.body, answer.status)


@router.post("/{job_id}/cancel")
async def cancel(service: ServiceOf, job_id: str) -> Response:
    """End a job; what draws it stops within a step."""
    return json_answer(await service.jobs.shown(await service.jobs.cancel(job_id)))


@router.delete("/{job_id}")
async def delete(service: ServiceOf, job_id: str) -> Response:
    """Forget a job and its result, ending it if need be."""
    await service.jobs.forget(job_id)
    return json_answer({"id": job_id, "object": "job", "deleted": True})
