"""The line in front of a model: bounded, fair between callers, with a place for each."""

from __future__ import annotations

import pytest

from engines.errors import EngineBusy
from gateway.waiting import Seat, WaitingLine

pytestmark = pytest.mark.anyio


class Gate:
    """Whether turns are given, as a test says."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open = is_open

    def __call__(self) -> bool:
        return self.is_open


def line(gate: Gate | None = None, *, width: int = 1, limit: int = 10) -> WaitingLine:
    return WaitingLine("m", width=width, limit=limit, is_open=gate or Gate())


def served(waiting: WaitingLine, seats: list[Seat]) -> str:
    """Let everybody have a turn, one after another; the callers in the order of their turns."""
    order = []
    while waiting.working or waiting.waiting:
        working = next(seat for seat in seats if seat.called.is_set())
        order.append(working.caller)
        seats.remove(working)
        waiting.leave(working, done=True)
    return "".join(order)


async def test_callers_take_turns_whatever_one_has_sent() -> None:
    gate = Gate(is_open=False)
    waiting = line(gate)
    seats = [waiting.join(caller) for caller in "aaaabbc"]
    gate.is_open = True
    waiting.advance()
    assert served(waiting, seats) == "abcabaa"


async def test_no_turns_are_given_while_the_model_is_not_ready() -> None:
    gate = Gate(is_open=False)
    waiting = line(gate)
    seat = waiting.join("a")
    assert not seat.called.is_set()
    gate.is_open = True
    waiting.advance()
    assert seat.called.is_set()


async def test_as_many_are_worked_on_as_the_line_is_wide() -> None:
    waiting = line(width=2)
    seats = [waiting.join("a") for _ in range(3)]
    assert [seat.called.is_set() for seat in seats] == [True, True, False]
    assert (waiting.working, waiting.waiting) == (2, 1)


async def test_place_is_told_in_the_order_of_the_turns() -> None:
    waiting = line(Gate(is_open=False))
    seats = [waiting.join(caller) for caller in "aaabbc"]
    assert [waiting.position(seat) for seat in seats] == [1, 4, 6, 2, 5, 3]


async def test_who_is_worked_on_has_no_place() -> None:
    waiting = line()
    assert waiting.position(waiting.join("a")) is None


async def test_full_line_refuses_and_says_when_to_come_back() -> None:
    waiting = line(limit=2)
    for _ in range(3):
        waiting.join("a")
    with pytest.raises(EngineBusy) as caught:
        waiting.join("b")
    assert caught.value.queued == 2
    assert caught.value.retry_after_seconds >= 1


async def test_who_goes_away_while_waiting_leaves_no_gap() -> None:
    waiting = line(Gate(is_open=False))
    first, second = waiting.join("a"), waiting.join("b")
    waiting.leave(first)
    assert waiting.position(second) == 1
    assert waiting.waiting == 1


async def test_request_whose_engine_died_is_the_next() -> None:
    waiting = line()
    unlucky, _, _ = (waiting.join(caller) for caller in "aba")
    gate = Gate(is_open=False)
    waiting._is_open = gate
    waiting.return_to(unlucky)
    assert waiting.position(unlucky) == 1
    gate.is_open = True
    waiting.advance()
    assert unlucky.called.is_set()
    assert waiting.working == 1


async def test_measured_requests_change_the_estimate() -> None:
    waiting = line()
    before = waiting.wait_estimate
    seat = waiting.join("a")
    assert waiting.wait_estimate > before
    waiting.leave(seat, done=True)
    seat = waiting.join("a")
    after_quick_ones = waiting.wait_estimate
    waiting.leave(seat)
    assert after_quick_ones < 5.0


async def test_line_is_empty_when_nobody_waits_or_is_worked_on() -> None:
    waiting = line()
    seat = waiting.join("a")
    assert not waiting._empty.is_set()
    waiting.leave(seat)
    await waiting.empty()
