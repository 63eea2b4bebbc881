"""The jobs' rows as they are read, and the rows of the webhooks that tell of their ends."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engines.errors import InvalidParameter
from gateway.jobs.job import Job
from gateway.tables import JOBS


def rows() -> Select[Any]:
    """A query for jobs."""
    return select(*(JOBS.c[name] for name in Job.model_fields))


async def one(connection: AsyncConnection, wanted: Select[Any]) -> Job | None:
    """The one job that a query finds, if any."""
    row = (await connection.execute(wanted)).mappings().one_or_none()
    return None if row is None else _job(row)


async def page(
    connection: AsyncConnection, *, caller: str | None, after: str | None, limit: int
) -> tuple[list[Job], bool]:
    """At most ``limit`` jobs, of one caller or of all, that follow the one with the id ``after``, the newest
    first; whether there are more.

    Raises:
        InvalidParameter: there is no job of this id.
    """
    whose = () if caller is None else (JOBS.c.caller == caller,)
    wanted = rows().where(*whose).order_by(JOBS.c.sequence.desc()).limit(limit + 1)
    if after is not None:
        place = await connection.scalar(select(JOBS.c.sequence).where(JOBS.c.id == after, *whose))
        if place is None:
            raise InvalidParameter("after", f"there is nothing with the id {after!r}.")
        wanted = wanted.where(JOBS.c.sequence < place)
    found = [_job(row) for row in (await connection.execute(wanted)).mappings()]
    return found[:limit], len(found) > limit


async def positions(connection: AsyncConnection, queued: Sequence[str]) -> dict[str, int]:
    """How many jobs of the same model are to be drawn before each of these."""
    other = JOBS.alias()
    earlier = and_(other.c.turn == JOBS.c.turn, other.c.sequence < JOBS.c.sequence)
    ahead = and_(
        other.c.status == "queued",
        other.c.model == JOBS.c.model,
        or_(other.c.turn < JOBS.c.turn, earlier),
    )
    count = select(func.count()).select_from(other).where(ahead).scalar_subquery()
    wanted = select(JOBS.c.id, count).where(JOBS.c.id.in_(queued))
    return {job_id: int(number) for job_id, number in await connection.execute(wanted)}


def event(job_id: str, url: str, status: str, now: int) -> dict[str, object]:
    """A delivery of OpenAI's kind of event: what happened, to which job; the rest is fetched."""
    event_id = f"evt_{secrets.token_hex(16)}"
    told = {
        "id": event_id,
        "object": "event",
        "type": f"job.{status}",
        "created_at": now,
        "data": {"id": job_id},
    }
    return {
        "id": event_id,
        "url": url,
        "body": json.dumps(told, separators=(",", ":")),
        "attempts": 0,
        "next_at": float(now),
        "pause": 0.0,
    }


def _job(row: Any) -> Job:
    return Job.model_validate(dict(row))
