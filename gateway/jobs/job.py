"""A job as data: its record, and the object that clients see."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final, Literal, NotRequired

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from compat.answers import ErrorObject, UnixSeconds
from engines.schema import Frozen

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled", "expired"]

UNFINISHED: Final = ("queued", "in_progress")
JOBS_PATH: Final = "/v1/jobs"
DRAWING: Final = "drawing"
"""The phase in which steps are made; those before are the load's own, or ``waiting``."""
WAITING: Final = "waiting"


class Answer(Frozen):
    """What the call is answered with: the status, and JSON."""

    status: int
    body: bytes


class Job(Frozen):
    """A job's record; times in Unix seconds, ``progress`` the share of the weights or of the steps."""

    id: str
    status: Status = "queued"
    model: str
    caller: str
    endpoint: str
    request_id: str
    seed: str | None = None
    token: str | None = None
    owner: str | None = None
    claims: int = 0
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    expires_at: int
    phase: str | None = None
    position: int | None = None
    progress: float | None = None
    step: int | None = None
    total_steps: int | None = None
    preview_url: str | None = None
    webhook: str | None = None
    answer_status: int | None = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status not in UNFINISHED

    @property
    def path(self) -> str:
        """Where to ask for it."""
        return f"{JOBS_PATH}/{self.id}"

    def as_json(self, *, position: int | None = None) -> dict[str, Any]:
        """The object that clients see, without the result; ``position`` is the one in the queue."""
        error = orjson.loads(self.error)["error"] if self.error else None
        return {
            "id": self.id,
            "object": "job",
            "status": self.status,
            "model": self.model,
            "endpoint": self.endpoint,
            "request_id": self.request_id,
            "seed": None if self.seed is None else int(self.seed),
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "expires_at": self.expires_at,
            "position": self.position if position is None else position,
            "phase": self.phase,
            "progress": self.progress,
            "step": self.step,
            "total_steps": self.total_steps,
            "preview_url": self.preview_url,
            "webhook": self.webhook,
            "error": error,
            "result_url": f"{self.path}/result",
        }


class JobObject(TypedDict):
    """A call that is answered later; `result` is what it would have been answered with at once."""

    id: str
    object: Literal["job"]
    status: Status
    model: str
    endpoint: Annotated[str, Field(description="The path that was called.")]
    request_id: str
    seed: Annotated[int | None, Field(description="Of the first picture, fixed when the job was accepted.")]
    created_at: UnixSeconds
    started_at: UnixSeconds | None
    ended_at: UnixSeconds | None
    expires_at: Annotated[
        int, Field(description="Unix seconds: until when it may wait, and, once ended, is kept at least.")
    ]
    position: Annotated[
        int | None, Field(ge=0, description="How many are to be drawn before this one, where it waits.")
    ]
    phase: Annotated[str | None, Field(description="`waiting`, a phase of the model's load, or `drawing`.")]
    progress: Annotated[
        float | None,
        Field(ge=0, le=1, description="Of the weights while the model loads, then of the steps."),
    ]
    step: int | None
    total_steps: int | None
    preview_url: Annotated[str | None, Field(description="The last picture of the way.")]
    webhook: Annotated[str | None, Field(description="The address that is told of the job's end.")]
    error: ErrorObject | None
    result_url: Annotated[str, Field(description="The path of the answer alone, as it would have been.")]
    result: NotRequired[Annotated[dict[str, Any] | None, Field(description="Not in lists.")]]


class JobPage(TypedDict):
    """A page of jobs, the newest first."""

    object: Literal["list"]
    data: list[JobObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedJob(TypedDict):
    """A job that was forgotten; if it was not finished, it was cancelled before."""

    id: str
    object: Literal["job"]
    deleted: bool


def new_job_id() -> str:
    """An id that nobody can guess."""
    return f"job_{secrets.token_hex(16)}"
