"""An answer that is being made, for any number of readers who come while it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse


class JoinedAnswer:
    """An answer that is being made; any number of readers follow it from its start."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.task: asyncio.Task[bytes]
        self.owner: str | None = None
        """Under whose name it is made, where it is being made here."""
        self._answer: Response | None = None
        self._error: BaseException | None = None
        self._chunks: list[bytes] = []
        self._ended = False
        self._news = asyncio.Event()

    @property
    def body(self) -> bytes:
        """All of the answer's body."""
        return b"".join(self._chunks)

    @property
    def streamed(self) -> bool:
        """Whether it has begun, as a stream."""
        return isinstance(self._answer, StreamingResponse)

    @property
    def broken(self) -> bool:
        """Whether a stream told of an error at its end."""
        return self.streamed and bool(self._chunks) and self._chunks[-1].startswith(b"event: error\n")

    def begin(self, answer: Response) -> None:
        """The answer's status and headers are there."""
        self._answer = answer
        self._tell()

    def add(self, chunk: bytes) -> None:
        """More of the body is there."""
        self._chunks.append(chunk)
        self._tell()

    def end(self, chunk: bytes = b"") -> None:
        """The body is whole."""
        if chunk:
            self._chunks.append(chunk)
        self._ended = True
        self._tell()

    def fail(self, error: BaseException) -> None:
        """Nothing more comes."""
        self._error, self._ended = error, True
        self._tell()

    async def response(self) -> Response:
        """The answer: at once where it is a stream, else when it is whole.

        Raises:
            BaseException: what the work has raised before there was an answer.
        """
        while not self._ended and not isinstance(self._answer, StreamingResponse):
            await self._news.wait()
        answer = self._answer
        if isinstance(answer, StreamingResponse):
            return StreamingResponse(self._follow(), answer.status_code, _headers(answer))
        if self._error is not None:
            raise self._error
        assert answer is not None
        return Response(self.body, answer.status_code, _headers(answer))

    async def _follow(self) -> AsyncIterator[bytes]:
        place = 0
        while True:
            while place < len(self._chunks):
                yield self._chunks[place]
                place += 1
            if self._ended:
                if self._error is not None:
                    raise self._error
                return
            await self._news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def _headers(answer: Response) -> dict[str, str]:
    """An answer's headers without its length, which each copy says for itself."""
    return {name: value for name, value in answer.headers.items() if name != "content-length"}
