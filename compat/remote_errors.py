"""What can go wrong with a model that another server answers for.

::

    InvalidRequest
    ├── NativeRoutesAbsent     the other server has OpenAI's routes alone
    └── RemoteRefusal          4xx of theirs, passed on
    EngineFault
    ├── RemoteFailure          5xx of theirs, passed on
    ├── RemoteBadAnswer        what they said is no answer
    ├── RemoteLacks            they have no such model or route
    ├── RemoteKeyMissing       the gateway has no key to show
    ├── RemoteKeyRefused       they do not take the gateway's key
    └── RemoteTimedOut
    Unavailable
    └── RemoteUnreachable

A key that is refused, and a model that they do not have, are faults of the entry and so of this
server: passed on as 401 and 404 they would read as the caller's. `RemoteTimedOut` is not repeated by
the SDKs: what took too long once is likely paid for and drawn again for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from engines.errors import EngineFault, InvalidRequest, Unavailable


@dataclass(frozen=True, kw_only=True)
class Said:
    """Another server's error object with its HTTP status; ``retry_after_seconds`` where it gave one."""

    status: int
    message: str
    type: str
    param: str | None = None
    code: str | None = None
    retry_after_seconds: float | None = None
    retry: bool | None = None
    """Its ``x-should-retry``."""


class NativeRoutesAbsent(InvalidRequest):
    """The model is another server's, which has no native routes."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    @property
    def parameter(self) -> str:
        return "model"

    def __str__(self) -> str:
        return (
            f"The model {self.model!r} is served by another server, through OpenAI's routes alone: "
            "use /v1/images/generations, /v1/images/edits or /v1/images/variations."
        )


class RemoteRefusal(InvalidRequest):
    """The other server refused the request; its answer is passed on."""

    def __init__(self, model: str, said: Said) -> None:
        super().__init__(model, said)
        self.model = model
        self.said = said

    @property
    def parameter(self) -> str | None:
        return self.said.param

    def __str__(self) -> str:
        return self.said.message


class RemoteFailure(EngineFault):
    """The other server failed; its answer is passed on."""

    def __init__(self, model: str, said: Said) -> None:
        super().__init__(model, said.message)
        self.args = (model, said)
        self.said = said

    def __str__(self) -> str:
        return self.said.message


class RemoteBadAnswer(EngineFault):
    """The other server said something that is no answer to the request."""

    def __str__(self) -> str:
        return f"The server behind {self.model!r} gave no usable answer: {self.reason}."


class RemoteLacks(EngineFault):
    """The other server has no such model, or no such route."""

    def __str__(self) -> str:
        return f"The server behind {self.model!r} does not serve this: {self.reason}."


class RemoteKeyMissing(EngineFault):
    """The gateway has no key for the other server."""

    def __str__(self) -> str:
        return f"The gateway has no key for the server behind {self.model!r}: {self.reason}."


class RemoteKeyRefused(EngineFault):
    """The other server does not take the gateway's key, or does not let it do this."""

    def __str__(self) -> str:
        return (
            f"The server behind {self.model!r} refused the gateway's own credentials ({self.reason}). "
            "Its operator has to see to it."
        )


class RemoteTimedOut(EngineFault):
    """The other server took longer than the entry allows."""

    def __str__(self) -> str:
        return f"The server behind {self.model!r} did not answer in time: {self.reason}."


class RemoteUnreachable(Unavailable):
    """The other server cannot be reached, or hung up."""

    retry_after_seconds = 5.0

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"The server behind {self.model!r} cannot be reached."
