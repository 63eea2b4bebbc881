"""The callers of the soak: what they ask for, and what became of it."""

from __future__ import annotations

import asyncio
import base64
import io
import random
import statistics
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx2
from PIL import Image

TRIES: Final = 12
"""As often a call is sent again that was answered with what a repetition can cure: as SDKs do, with more
patience, for the service is killed again and again."""
JOB_SECONDS: Final = 240.0
REPEATABLE: Final = frozenset({408, 409, 429, 500, 502, 503})
Body = dict[str, Any]


class Lost(Exception):
    """A call that was not answered as it had to be."""


class Tally:
    """What became of every call."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._repeated: Counter[str] = Counter()
        self._killed: Counter[str] = Counter()

    def answered(self, kind: str, seconds: float) -> None:
        """A call ended as it had to."""
        self._seconds[kind].append(seconds)

    def repeated(self, kind: str) -> None:
        """A call was sent again."""
        self._repeated[kind] += 1

    def lost(self, kind: str, why: str) -> None:
        """A call did not end as it had to."""
        self.faults.append(f"{kind}: {why}")

    def killed(self, title: str) -> None:
        """A process was killed."""
        self._killed[title] += 1

    def table(self) -> str:
        """All of it."""
        rows = ["kind of call       answered  sent again   p50 s   max s"]
        for kind, seconds in sorted(self._seconds.items()):
            middle, worst = statistics.median(seconds), max(seconds)
            rows.append(f"{kind:18} {len(seconds):8} {self._repeated[kind]:11} {middle:7.2f} {worst:7.2f}")
        killed = ", ".join(f"{title} {count}x" for title, count in sorted(self._killed.items())) or "nothing"
        total = sum(map(len, self._seconds.values()))
        rows += [f"killed: {killed}", f"answered {total}, lost or doubled {len(self.faults)}", *self.faults]
        return "\n".join(rows)


class Traffic:
    """One caller, who does one thing after another."""

    def __init__(
        self, client: httpx2.AsyncClient, tally: Tally, chance: random.Random, models: tuple[str, ...]
    ) -> None:
        self._client = client
        self._tally = tally
        self._chance = chance
        self._models = models
        self._picture = _png("orange")
        self._acts: dict[Callable[[], Awaitable[None]], int] = {
            self.draw: 6, self.edit: 2, self.stream: 3, self.native: 4, self.job: 3, self.twice: 3,
            self.leave: 2, self.stop: 2, self.deadline: 1, self.nonsense: 1, self.cancel_job: 1,
        }  # fmt: skip

    async def run(self, until: float) -> None:
        """Go on until the time has come."""
        while time.monotonic() < until:
            act = self._chance.choices(list(self._acts), list(self._acts.values()))[0]
            kind, started = act.__name__, time.monotonic()
            try:
                await act()
            except (Lost, httpx2.HTTPError) as error:
                self._tally.lost(kind, f"{type(error).__name__}: {error}")
            else:
                self._tally.answered(kind, time.monotonic() - started)

    async def draw(self) -> None:
        """A plain call."""
        answer = await self._persist("draw", "/v1/images/generations", self._body())
        _require_pictures(answer)

    async def edit(self) -> None:
        """An edit of an uploaded picture."""
        form = {name: str(value) for name, value in (self._body() | {"strength": 0.9}).items()}
        files = {"image": ("a.png", self._picture, "image/png")}
        answer = await self._persist("edit", "/v1/images/edits", form, files)
        _require_pictures(answer)

    async def stream(self) -> None:
        """A stream with pictures of the way; one that breaks is asked for again."""
        body = self._body(steps=8) | {"stream": True, "partial_images": 2}
        for _ in range(TRIES):
            text = ""
            try:
                async with self._client.stream("POST", "/v1/images/generations", json=body) as answer:
                    async for part in answer.aiter_text():
                        text += part
            except httpx2.TransportError:
                text = ""
            if "image_generation.completed" in text:
                return
            self._tally.repeated("stream")
            await asyncio.sleep(1)
        raise Lost("no stream came to its end")

    async def native(self) -> None:
        """A native call, which is told to come back while the model sleeps."""
        body = {"prompt": "hills", "num_inference_steps": 4, "seed": self._chance.randrange(1000)}
        path = f"/kandinsky-{self._chance.choice(self._models)}/v1/generate"
        deadline = time.monotonic() + JOB_SECONDS
        while time.monotonic() < deadline:
            answer = await self._persist("native", path, body)
            if answer.status_code == 200:
                return
            await asyncio.sleep(float(answer.headers["retry-after"]))
        raise Lost("the model never woke")

    async def job(self) -> None:
        """A call that is answered later."""
        job = await self._submitted("job")
        result = await self._ended(job)
        if result["status"] != "completed" or not result["result"]["data"][0]["b64_json"]:
            raise Lost(f"a job ended as {result['status']}: {result['error']}")

    async def cancel_job(self) -> None:
        """A job that is not wanted any more."""
        job = await self._submitted("cancel_job", steps=60)
        await asyncio.sleep(self._chance.random() * 2)
        await self._persist("cancel_job", f"/v1/jobs/{job}/cancel", {})
        result = await self._ended(job)
        if result["status"] not in ("cancelled", "completed"):
            raise Lost(f"a cancelled job ended as {result['status']}")

    async def twice(self) -> None:
        """The same call twice at once, and once more: one picture, drawn once."""
        body, key = self._body(), uuid.uuid4().hex
        body.pop("seed")
        path = "/v1/images/generations"
        both = await asyncio.gather(*(self._persist("twice", path, body, key=key) for _ in range(2)))
        answers = [*both, await self._persist("twice", path, body, key=key)]
        if len({answer.json()["data"][0]["b64_json"] for answer in answers}) != 1:
            raise Lost("a repeated call was drawn again")

    async def leave(self) -> None:
        """A caller who goes away in the middle."""
        body = self._body(steps=400)
        try:
            await self._client.post(
                "/v1/images/generations", json=body, timeout=1 + 2 * self._chance.random()
            )
        except httpx2.TransportError:
            return

    async def stop(self) -> None:
        """A request that its caller stops by its id."""
        identity = f"soak-{uuid.uuid4().hex}"
        headers = {"x-request-id": identity}
        sending = asyncio.create_task(
            self._client.post("/v1/images/generations", json=self._body(steps=400), headers=headers)
        )
        await asyncio.sleep(0.5 + self._chance.random())
        for _ in range(TRIES):
            try:
                answer = await self._client.delete(f"/requests/{identity}")
                if answer.status_code == 200 or sending.done():
                    break
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.5)
        else:
            sending.cancel()
            raise Lost("a request could not be stopped")
        await asyncio.wait([sending], timeout=60)
        if not sending.done():
            sending.cancel()
            raise Lost("a stopped request was never answered")
        sending.exception()

    async def deadline(self) -> None:
        """A call that is given too little time."""
        started = time.monotonic()
        answer = await self._persist(
            "deadline", "/v1/images/generations", self._body(steps=900) | {"timeout": 1.5}
        )
        if answer.status_code != 504 or time.monotonic() - started > 60:
            raise Lost(f"a deadline was answered with {answer.status_code}")

    async def nonsense(self) -> None:
        """A call that cannot be."""
        answer = await self._persist("nonsense", "/v1/images/generations", {"prompt": 5, "model": "first"})
        if answer.status_code != 400 or "message" not in answer.json()["error"]:
            raise Lost(f"nonsense was answered with {answer.status_code}")

    def _body(self, steps: int = 4) -> Body:
        return {
            "model": self._chance.choice(self._models),
            "prompt": self._chance.choice(("the sea at sunset", "snowy mountains", "a foggy forest")),
            "num_inference_steps": steps,
            "response_format": "b64_json",
            "seed": self._chance.randrange(10_000),
        }

    async def _submitted(self, kind: str, steps: int = 4) -> str:
        """A job's id. With a key: a submission whose answer was lost is not submitted a second time."""
        headers = {"Prefer": "respond-async"}
        answer = await self._persist(
            kind, "/v1/images/generations", self._body(steps), key=uuid.uuid4().hex, headers=headers
        )
        if answer.status_code != 202:
            raise Lost(f"a job was answered with {answer.status_code}")
        identity: str = answer.json()["id"]
        return identity

    async def _ended(self, job: str) -> Body:
        deadline = time.monotonic() + JOB_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = await self._client.get(f"/v1/jobs/{job}")
                if answer.status_code == 200 and answer.json()["status"] not in ("queued", "in_progress"):
                    found: Body = answer.json()
                    return found
                if answer.status_code == 404:
                    raise Lost("a job was forgotten")
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.5)
        raise Lost("a job never ended")

    async def _persist(
        self,
        kind: str,
        path: str,
        body: Body,
        files: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """Send a call, and again where that can help, under the same key."""
        sent = {"Idempotency-Key": key or uuid.uuid4().hex, **(headers or {})}
        content: dict[str, Any] = {"json": body} if files is None else {"data": body, "files": files}
        seen = ""
        for _ in range(TRIES):
            try:
                answer = await self._client.post(path, headers=sent, **content)
                told = answer.headers.get("x-should-retry")
                if answer.status_code not in REPEATABLE or told == "false":
                    return answer
                seen = f"{answer.status_code} {answer.text[:200]}"
                wait = float(answer.headers.get("retry-after", 1))
            except httpx2.TransportError as error:
                seen, wait = repr(error), 1.0
            self._tally.repeated(kind)
            await asyncio.sleep(wait)
        raise Lost(f"{path} failed {TRIES} times, at last with {seen}")


def _require_pictures(answer: httpx2.Response) -> None:
    if answer.status_code != 200:
        raise Lost(f"{answer.status_code} {answer.text[:200]}")
    for picture in answer.json()["data"]:
        Image.open(io.BytesIO(base64.b64decode(picture["b64_json"]))).verify()


def _png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (128, 128), colour).save(file, "PNG")
    return file.getvalue()
