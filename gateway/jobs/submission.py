"""A call that is to be answered later: refused at once if it would be, else taken on as a job."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from compat.mapped import Mapped
from compat.requests import requested_model
from engines.calls import EngineCall
from engines.errors import InvalidParameter
from gateway import webhooks
from gateway.answers import json_answer
from gateway.callers import caller
from gateway.deadlines import header_seconds, least
from gateway.jobs.calls import (
    JobCall,
    OwnImages,
    OwnNative,
    RemoteNative,
    fixed,
    remote_images,
    with_previews,
)
from gateway.jobs.job import Job, new_job_id
from gateway.kept_answers import Keyed
from gateway.middleware import request_id
from gateway.preferences import APPLIED_HEADER, Preferences, preferences
from gateway.public_url import public_url
from gateway.registry import Entry, ModelEntry
from gateway.remote_calls import ImagesCall, NativeCall, NativeRoute, with_files_inside
from gateway.remotes import RemoteEntry
from gateway.service import Service


@dataclass(frozen=True)
class Later:
    """How a call is to be answered later; ``seconds`` is how long drawing may take, by its header and by
    the settings."""

    preferences: Preferences
    webhook: str | None
    known: Keyed | None
    seconds: float | None


async def later(request: Request, service: Service, known: Keyed | None, *, streamed: bool) -> Later | None:
    """How a request wants to be answered later, if it does; what is ``streamed`` is so in any case.

    Raises:
        InvalidParameter: the webhook's address is none, or there is no job that it could tell of.
    """
    wish = preferences(request.headers)
    webhook = request.headers.get(webhooks.HEADER)
    if streamed or not wish.respond_async:
        if webhook is not None:
            reason = "only with 'Prefer: respond-async', and not for a stream."
            raise InvalidParameter(webhooks.HEADER, reason)
        return None
    if webhook is not None:
        await service.webhooks.check(webhook)
    seconds = least(header_seconds(request.headers), service.settings.max_request_seconds)
    return Later(wish, webhook, known, seconds)


async def submit_images(
    request: Request,
    service: Service,
    call: ImagesCall,
    wish: Later,
    *,
    prepare: Callable[[ModelEntry], Awaitable[Mapped]],
) -> Response:
    """Take on a call of OpenAI's image routes.

    Raises:
        EngineError: what the call would be refused with at once.
    """
    policy = service.settings.policy
    entry = service.models.resolve(requested_model(call.body, policy=policy, form=call.form))
    base = public_url(request, service.settings, "")
    if isinstance(entry, RemoteEntry):
        call, seconds = call.without_timeout()
        whole = await with_files_inside(call, service.files.read)
        far = remote_images(whole, model=entry.name, base_url=base, seconds=least(seconds, wish.seconds))
        return await _accepted(request, service, far, None, wish)
    mapped = with_previews(await prepare(entry), call.body, form=call.form)
    mapped = replace(mapped, call=fixed(mapped.call, wish.seconds))
    own = OwnImages(model=entry.name, base_url=base, mapped=mapped)
    return await _accepted(request, service, own, mapped.call.seed, wish)


async def submit_native(
    request: Request,
    service: Service,
    entry: Entry,
    body: Mapping[str, Any],
    wish: Later,
    *,
    prepare: Callable[[ModelEntry], EngineCall],
) -> Response:
    """Take on a native call.

    Raises:
        EngineError: what the call would be refused with at once.
    """
    base = public_url(request, service.settings, "")
    if isinstance(entry, RemoteEntry):
        sent, seconds = NativeCall(NativeRoute.GENERATE, body).without_timeout()
        far = RemoteNative(
            model=entry.name,
            base_url=base,
            seconds=least(seconds, wish.seconds),
            body=dict(sent.body or {}),
        )
        return await _accepted(request, service, far, None, wish)
    call = fixed(prepare(entry), wish.seconds)
    return await _accepted(
        request, service, OwnNative(model=entry.name, base_url=base, call=call), call.seed, wish
    )


async def _accepted(
    request: Request, service: Service, call: JobCall, seed: int | None, wish: Later
) -> Response:
    now = int(time.time())
    job = Job(
        id=new_job_id(),
        model=call.model,
        caller=caller.get(),
        endpoint=request.url.path,
        request_id=request_id.get(),
        seed=None if seed is None else str(seed),
        token=wish.known.digest if wish.known else None,
        created_at=now,
        expires_at=now + service.settings.job_seconds,
        webhook=wish.webhook,
    )
    jobs = service.jobs
    job = await jobs.submit(job, call)
    if wish.preferences.wait_seconds:
        patience = min(float(wish.preferences.wait_seconds), service.settings.hold_seconds)
        job = await jobs.until_ended(job, patience)
    applied = {APPLIED_HEADER: wish.preferences.applied}
    answer = await jobs.answer(job)
    if answer is not None:
        return json_answer(answer.body, answer.status, **applied)
    return json_answer(await jobs.shown(job), 202, Location=job.path, **applied)
