"""Who is loaded, who must sleep so that another can wake, and who has to wait: pure decisions.

A model needs amounts of resources (GPUs, memory of a GPU or of the host, whatever the operator calls a
resource), and a room, which is a node of the cluster, has amounts of them. The rules:

1. Who has waited longest is served first. It wakes where it fits.
2. Where it fits nowhere, idle models are put to sleep: those that are cheapest to lose, which is load
   time over idle time, for each share of the lacking room that they free. Never a busy one, never a
   pinned one, never one that somebody waits for.
3. Where that is not enough, busy models go on: requests for the model that is loaded are served
   together, so that A B A B A B costs one swap. But nobody waits for ever: once a model has waited for
   ``patience`` seconds, beside a model that has been loaded for as long, that one gives no more turns,
   ends what it is at, and leaves, although others wait for it. With n models that want the same room,
   nobody waits longer than (n - 1) times the patience, a request and a swap.
4. Room that a waiting model is about to get is given to nobody else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

HOST_MEMORY: Final = "host_memory"
GPU_MEMORY: Final = "gpu_memory"
"""Bytes. They are ours to count; every other resource is one of Ray's, which it counts as well."""
MEMORIES: Final = frozenset({HOST_MEMORY, GPU_MEMORY})

_CLOSE: Final = 1e-9
_HASTE_SECONDS: Final = 1.0
"""Added to an idle time, so that a model that ended its work just now is not infinitely dear."""

Amounts = Mapping[str, float]


@dataclass(frozen=True)
class Room:
    """A node and what it has in all. What is not listed it has none of; memory may be infinite."""

    name: str
    amounts: Amounts


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One model as placement sees it.

    ``places`` are the rooms of its replicas, starting ones included: those take room, wherever the model
    is in its life. ``leaving`` ones will be gone by themselves. ``waiting_seconds`` is how long nobody
    has had a turn although somebody waits, ``None`` where nobody does; ``held_seconds`` how long the model
    has been loaded.
    """

    model: str
    need: Amounts
    places: tuple[str, ...] = ()
    leaving: bool = False
    busy: bool = False
    pinned: bool = False
    waiting_seconds: float | None = None
    held_seconds: float = 0.0
    idle_seconds: float = 0.0
    load_seconds: float = 10.0

    @property
    def wants_room(self) -> bool:
        """Whether it must wake for somebody."""
        return self.waiting_seconds is not None and (self.leaving or not self.places)

    @property
    def may_sleep(self) -> bool:
        """Whether it can be put to sleep at once."""
        idle = not self.busy and self.waiting_seconds is None
        return bool(self.places) and idle and not self.pinned and not self.leaving

    @property
    def loss(self) -> float:
        """What it costs to put it to sleep: its load, the less likely the longer nobody has asked for it."""
        return self.load_seconds / (self.idle_seconds + _HASTE_SECONDS)


@dataclass(frozen=True)
class Decision:
    """Models to wake (and the room that each is meant for), to put to sleep, and to give no more turns."""

    wake: Mapping[str, str] = field(default_factory=dict)
    sleep: tuple[str, ...] = ()
    yielding: frozenset[str] = frozenset()


def decide(claims: Iterable[Claim], rooms: Sequence[Room], *, patience: float) -> Decision:
    """Say what is to be done now; without any room known, everybody may wake."""
    every = sorted(claims, key=lambda claim: -(claim.waiting_seconds or 0.0))
    waiting = [claim for claim in every if claim.wants_room]
    if not rooms:
        return Decision(wake={claim.model: "" for claim in waiting if not claim.places})
    plan = _Plan(every, rooms, patience)
    plan.relieve()
    for claim in waiting:
        plan.seat(claim)
    return Decision(plan.wake, tuple(plan.sleep), frozenset(plan.yielding))


class _Plan:
    """One decision in the making: what is free, now and once those who leave are gone."""

    def __init__(self, claims: Sequence[Claim], rooms: Sequence[Room], patience: float) -> None:
        self.wake: dict[str, str] = {}
        self.sleep: list[str] = []
        self.yielding: set[str] = set()
        self._rooms = {room.name: room for room in rooms}
        self._claims = claims
        self._patience = patience
        self._free = {room.name: dict(room.amounts) for room in rooms}
        self._coming: dict[str, dict[str, float]] = {room.name: {} for room in rooms}
        for claim in claims:
            for place in claim.places:
                self._take(claim, place)
                if claim.leaving:
                    self._expect(claim, place)

    def seat(self, claim: Claim) -> None:
        """Find room for a model that wants to wake, or prepare some."""
        homes = [room for room in self._rooms.values() if _could_hold(room, claim.need)]
        if not homes:
            # No node has what it asks for. Ray waits for one that does, and so does the model.
            if not claim.places:
                self.wake[claim.model] = ""
            return
        for room in homes:
            if not self._lacking(claim, room, self._free[room.name]):
                self._take(claim, room.name)
                if not claim.places:
                    self.wake[claim.model] = room.name
                return
        for room in homes:
            if not self._lacking(claim, room, self._expected(room.name)):
                self._take(claim, room.name)  # those who leave are enough: it is theirs that it waits for
                return
        self._make_room(claim, homes)

    def relieve(self) -> None:
        """Put idle models to sleep where more is taken than there is: needs are learned, and grow."""
        for room in self._rooms.values():
            while any(amount < -_CLOSE for amount in self._expected(room.name).values()):
                staying = [each for each in self._holders(room.name) if each.model not in self.sleep]
                idle = [each for each in staying if each.may_sleep]
                if not idle or len(staying) < 2:
                    break
                self._send_to_sleep(min(idle, key=lambda each: (each.loss, each.model)))

    def _make_room(self, claim: Claim, homes: Sequence[Room]) -> None:
        idle = [each for each in self._claims if each.may_sleep and each.model not in self.sleep]
        found = self._cheapest(claim, homes, idle)
        if found is not None:
            room, victims = found
            for victim in victims:
                self._send_to_sleep(victim)
            self._take(claim, room)
            return
        found = self._cheapest(claim, homes, [*idle, *self._overdue(claim)])
        if found is not None:
            room, victims = found
            for victim in victims:
                if victim.may_sleep:
                    continue  # it is let go when it is of use, once the busy ones have ended their work
                if victim.busy:
                    self.yielding.add(victim.model)
                else:
                    self._send_to_sleep(victim)
            self._take(claim, room)
        elif (claim.waiting_seconds or 0.0) >= self._patience:
            # What becomes free is no newcomer's: many small ones would keep a large one out for ever.
            self._take(claim, min(homes, key=lambda room: len(self._holders(room.name))).name)

    def _holders(self, room: str) -> list[Claim]:
        return [each for each in self._claims if room in each.places]

    def _overdue(self, claim: Claim) -> Iterator[Claim]:
        """Busy models that have had their time, measured against this one's waiting."""
        waited = claim.waiting_seconds or 0.0
        for each in self._claims:
            working = bool(each.places) and not each.may_sleep and not each.leaving and not each.pinned
            if working and each is not claim and min(waited, each.held_seconds) >= self._patience:
                yield each

    def _cheapest(
        self, claim: Claim, homes: Sequence[Room], candidates: Sequence[Claim]
    ) -> tuple[str, list[Claim]] | None:
        """The room and the models whose loss makes it large enough, at the least cost, if any."""
        best: tuple[float, str, list[Claim]] | None = None
        for room in homes:
            victims = self._victims(claim, room, candidates)
            if victims is None:
                continue
            cost = sum(each.loss for each in victims)
            if best is None or (cost, room.name) < best[:2]:
                best = (cost, room.name, victims)
        return None if best is None else best[1:]

    def _victims(self, claim: Claim, room: Room, candidates: Sequence[Claim]) -> list[Claim] | None:
        free = self._expected(room.name)
        left = [each for each in candidates if room.name in each.places]
        chosen: list[Claim] = []
        while lacking := self._lacking(claim, room, free):
            useful = [(each, share) for each in left if (share := _share(each, room, lacking)) > 0]
            if not useful:
                return None
            victim, _ = min(useful, key=lambda pair: (pair[0].loss / pair[1], pair[0].model))
            chosen.append(victim)
            left.remove(victim)
            _add(free, _held(victim, room))
        return self._needed(claim, room, chosen)

    def _needed(self, claim: Claim, room: Room, chosen: Sequence[Claim]) -> list[Claim]:
        """Those of the chosen without whom it would not do, the dearest being let off first."""
        kept = list(chosen)
        for victim in sorted(chosen, key=lambda each: -each.loss):
            others = [each for each in kept if each is not victim]
            free = self._expected(room.name)
            for each in others:
                _add(free, _held(each, room))
            if not self._lacking(claim, room, free):
                kept = others
        return kept

    def _lacking(self, claim: Claim, room: Room, free: Amounts) -> dict[str, float]:
        """What is missing of each resource. A model that needs more memory than a room has gets all of it."""
        missing: dict[str, float] = {}
        for name, amount in _within(claim.need, room).items():
            short = amount - free.get(name, 0.0)
            if short > _CLOSE * max(1.0, amount):
                missing[name] = short
        return missing

    def _send_to_sleep(self, victim: Claim) -> None:
        self.sleep.append(victim.model)
        for place in victim.places:
            self._expect(victim, place)

    def _expected(self, room: str) -> dict[str, float]:
        free = dict(self._free[room])
        _add(free, self._coming[room])
        return free

    def _take(self, claim: Claim, place: str) -> None:
        if place in self._rooms:
            taken = _within(claim.need, self._rooms[place])
            _add(self._free[place], {name: -amount for name, amount in taken.items()})

    def _expect(self, claim: Claim, place: str) -> None:
        if place in self._rooms:
            _add(self._coming[place], _within(claim.need, self._rooms[place]))


def _within(need: Amounts, room: Room) -> Amounts:
    """What a model takes of a room: one that needs more memory than there is takes all of it."""
    return {
        name: min(amount, room.amounts.get(name, 0.0)) if name in MEMORIES else amount
        for name, amount in need.items()
    }


def _could_hold(room: Room, need: Amounts) -> bool:
    """Whether an empty room would do; of memory, whether it has any of that kind."""
    for name, amount in need.items():
        there = room.amounts.get(name, 0.0)
        if there <= 0 < amount or (name not in MEMORIES and there + _CLOSE < amount):
            return False
    return True


def _held(claim: Claim, room: Room) -> Amounts:
    copies = claim.places.count(room.name)
    return {name: copies * amount for name, amount in _within(claim.need, room).items()}


def _share(claim: Claim, room: Room, lacking: Amounts) -> float:
    """How much of what is lacking this model would free, 0 to 1: the mean over the resources."""
    held = _held(claim, room)
    return math.fsum(min(1.0, held.get(name, 0.0) / short) for name, short in lacking.items()) / len(lacking)


def _add(amounts: dict[str, float], more: Amounts) -> None:
    for name, amount in more.items():
        amounts[name] = amounts.get(name, 0.0) + amount
