"""The requests of one model that wait for their turn: bounded, fair between callers, each with a place.

Nothing is queued inside the engine beyond what keeps it busy, so the order is decided here: callers
take turns, whatever one of them has sent. A request whose engine died keeps its place at the front.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from engines.errors import EngineBusy
from gateway.pace import USUAL_SECONDS, moved


class Seat:
    """One request's place: waiting, or called to be worked on."""

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.since = time.monotonic()
        self.called = asyncio.Event()
        self._began = 0.0

    def begin(self) -> None:
        """It is this request's turn."""
        self._began = time.monotonic()
        self.called.set()

    def worked_seconds(self) -> float:
        """How long it has been worked on."""
        return time.monotonic() - self._began


class WaitingLine:
    """The line in front of one model's engine.

    At most ``width`` requests are worked on at once and ``limit`` wait. ``is_open`` says whether turns
    are given now; whoever changes its answer calls `advance`.
    """

    def __init__(self, model: str, *, width: int, limit: int, is_open: Callable[[], bool]) -> None:
        self.width = width
        self.limit = limit
        self._model = model
        self._is_open = is_open
        self._callers: dict[str, deque[Seat]] = {}
        """Seats by caller; the first caller is the next to be served."""
        self._working: set[Seat] = set()
        self._last_turn = 0.0
        self._request_seconds = USUAL_SECONDS
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return sum(map(len, self._callers.values()))

    @property
    def working(self) -> int:
        """How many are worked on."""
        return len(self._working)

    @property
    def waiting_seconds(self) -> float | None:
        """How long nobody has had a turn although somebody waits, ``None`` where nobody does."""
        since = [seats[0].since for seats in self._callers.values()]
        return time.monotonic() - max(min(since), self._last_turn) if since else None

    @property
    def wait_estimate(self) -> float:
        """How long a request that came now would wait, in seconds, by the measured rate."""
        return self._request_seconds * (self.waiting + self.working) / self.width

    def require_room(self) -> None:
        """Raise where a request that came now would be refused.

        Raises:
            EngineBusy: with the time in which a place will be free.
        """
        if self.waiting >= self.limit:
            raise EngineBusy(self._model, self.waiting, max(1.0, self._request_seconds / self.width))

    def join(self, caller: str) -> Seat:
        """Take a place.

        Raises:
            EngineBusy: all are taken.
        """
        self.require_room()
        seat = Seat(caller)
        self._callers.setdefault(caller, deque()).append(seat)
        self._empty.clear()
        self.advance()
        return seat

    def leave(self, seat: Seat, *, done: bool = False) -> None:
        """Give the place up, wherever the request is; ``done`` says that it was worked on to its end."""
        if seat in self._working:
            self._working.discard(seat)
            if done:
                self._request_seconds = moved(self._request_seconds, seat.worked_seconds())
        elif seat in self._callers.get(seat.caller, ()):
            self._callers[seat.caller].remove(seat)
            self._forget(seat.caller)
        self.advance()
        if not self._working and not self._callers:
            self._empty.set()

    def return_to(self, seat: Seat) -> None:
        """Wait again, at the front: the engine was lost under the request, or was leaving."""
        self._working.discard(seat)
        seat.called.clear()
        own = self._callers.pop(seat.caller, deque())
        own.appendleft(seat)
        self._callers = {seat.caller: own, **self._callers}
        self.advance()

    def advance(self) -> None:
        """Give turns while there are any to give."""
        while self._callers and self.working < self.width and self._is_open():
            caller, seats = next(iter(self._callers.items()))
            del self._callers[caller]
            seat = seats.popleft()
            if seats:
                self._callers[caller] = seats
            self._working.add(seat)
            self._last_turn = time.monotonic()
            seat.begin()

    def position(self, seat: Seat) -> int | None:
        """The place among those who wait, from 1; ``None`` where the request is being worked on."""
        own = self._callers.get(seat.caller)
        if own is None or seat not in own:
            return None
        turn = own.index(seat)
        order = list(self._callers)
        earlier = order.index(seat.caller)
        before = sum(
            min(len(seats), turn + 1 if number < earlier else turn)
            for number, seats in enumerate(self._callers.values())
        )
        return before + 1

    async def empty(self) -> None:
        """Wait until no request waits or is worked on."""
        await self._empty.wait()

    def _forget(self, caller: str) -> None:
        if not self._callers[caller]:
            del self._callers[caller]
