"""Who is loaded, who must sleep, who waits: the policy, over plain data."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.placement import GPU_MEMORY, HOST_MEMORY, Claim, Decision, Room, decide

PATIENCE = 30.0
GPU = Room("gpu", {GPU_MEMORY: 24.0, "GPU": 1.0})


def model(name: str, memory: float = 10.0, **known: Any) -> Claim:
    return Claim(model=name, need={GPU_MEMORY: memory}, **known)


def loaded(name: str, memory: float = 10.0, **known: Any) -> Claim:
    return model(name, memory, **({"places": ("gpu",), "held_seconds": 100.0, "idle_seconds": 50.0} | known))


def wanted(name: str, memory: float = 10.0, seconds: float = 1.0, **known: Any) -> Claim:
    return model(name, memory, waiting_seconds=seconds, **known)


def decided(*claims: Claim, rooms: tuple[Room, ...] = (GPU,)) -> Decision:
    return decide(claims, rooms, patience=PATIENCE)


def test_model_wakes_where_it_fits() -> None:
    assert decided(loaded("a"), wanted("b")).wake == {"b": "gpu"}


def test_without_rooms_everybody_wakes() -> None:
    assert set(decided(wanted("a"), wanted("b"), rooms=()).wake) == {"a", "b"}


def test_idle_model_makes_room() -> None:
    decision = decided(loaded("a", 20.0), wanted("b", 20.0))
    assert decision == Decision(wake={}, sleep=("a",))


def test_room_is_given_when_those_who_leave_are_gone() -> None:
    assert decided(loaded("a", 20.0, leaving=True), wanted("b", 20.0)) == Decision()


def test_cheapest_to_lose_goes_first() -> None:
    quick = loaded("quick", 12.0, load_seconds=2.0)
    slow = loaded("slow", 12.0, load_seconds=60.0)
    assert decided(quick, slow, wanted("b", 12.0)).sleep == ("quick",)


def test_longer_idle_goes_first_among_equals() -> None:
    old = loaded("old", 12.0, idle_seconds=900.0)
    new = loaded("new", 12.0, idle_seconds=5.0)
    assert decided(old, new, wanted("b", 12.0)).sleep == ("old",)


def test_one_that_frees_enough_is_preferred_to_several() -> None:
    small = [loaded(f"small{number}", 4.0, load_seconds=10.0) for number in range(3)]
    large = loaded("large", 12.0, load_seconds=12.0)
    assert decided(*small, large, wanted("b", 12.0)).sleep == ("large",)


def test_nobody_is_put_to_sleep_in_vain() -> None:
    decision = decided(loaded("a", 4.0), loaded("b", 20.0, busy=True), wanted("c", 12.0))
    assert decision == Decision()


def test_busy_pinned_and_waited_for_models_stay() -> None:
    for known in ({"busy": True}, {"pinned": True}, {"waiting_seconds": 1.0}):
        assert decided(loaded("a", 20.0, **known), wanted("b", 20.0)).sleep == ()


def test_busy_model_goes_on_while_the_other_can_wait() -> None:
    decision = decided(loaded("a", 20.0, busy=True, waiting_seconds=3.0), wanted("b", 20.0, seconds=20.0))
    assert decision == Decision()


def test_busy_model_yields_to_one_that_has_waited_too_long() -> None:
    decision = decided(loaded("a", 20.0, busy=True), wanted("b", 20.0, seconds=31.0))
    assert decision == Decision(yielding=frozenset({"a"}))


def test_model_that_has_yielded_leaves_although_others_wait_for_it() -> None:
    drained = loaded("a", 20.0, waiting_seconds=2.0)
    assert decided(drained, wanted("b", 20.0, seconds=31.0)).sleep == ("a",)


def test_model_that_was_just_loaded_has_its_time_too() -> None:
    fresh = loaded("a", 20.0, busy=True, held_seconds=5.0)
    assert decided(fresh, wanted("b", 20.0, seconds=300.0)).yielding == frozenset()


def test_pinned_model_never_yields() -> None:
    pinned = loaded("a", 20.0, busy=True, pinned=True)
    assert decided(pinned, wanted("b", 20.0, seconds=300.0)) == Decision()


def test_who_has_waited_longest_is_first() -> None:
    decision = decided(wanted("late", 20.0, seconds=1.0), wanted("early", 20.0, seconds=9.0))
    assert decision.wake == {"early": "gpu"}


def test_room_that_is_being_made_is_given_to_nobody_else() -> None:
    large = wanted("large", 20.0, seconds=9.0)
    assert decided(loaded("a", 14.0), large, wanted("small", 10.0)) == Decision(sleep=("a",))


def test_small_models_do_not_keep_a_large_one_out_for_ever() -> None:
    large = wanted("large", 24.0, seconds=40.0)
    busy = loaded("busy", 10.0, busy=True, held_seconds=5.0)
    assert decided(busy, large, wanted("small", 10.0)).wake == {}


def test_model_larger_than_the_room_gets_all_of_it() -> None:
    assert decided(loaded("a", 4.0), wanted("huge", 99.0)).sleep == ("a",)
    assert decided(wanted("huge", 99.0)).wake == {"huge": "gpu"}


def test_model_whose_resource_nobody_has_is_left_to_ray() -> None:
    odd = Claim(model="odd", need={"tpu": 1.0}, waiting_seconds=1.0)
    assert decided(odd).wake == {"odd": ""}


def test_named_resources_count_like_memory() -> None:
    rooms = (Room("node", {"slot": 1.0, HOST_MEMORY: 100.0}),)
    holder = Claim(model="a", need={"slot": 1.0}, places=("node",), idle_seconds=5.0)
    want = Claim(model="b", need={"slot": 1.0}, waiting_seconds=1.0)
    assert decided(holder, want, rooms=rooms).sleep == ("a",)


def test_other_node_is_used_before_anybody_must_sleep() -> None:
    rooms = (GPU, Room("other", {GPU_MEMORY: 24.0, "GPU": 1.0}))
    assert decided(loaded("a", 20.0), wanted("b", 20.0), rooms=rooms) == Decision(wake={"b": "other"})


def test_room_is_made_where_it_costs_least() -> None:
    rooms = (GPU, Room("other", {GPU_MEMORY: 24.0}))
    dear = loaded("dear", 20.0, load_seconds=100.0)
    cheap = loaded("cheap", 20.0, load_seconds=1.0, places=("other",))
    assert decided(dear, cheap, wanted("b", 20.0), rooms=rooms).sleep == ("cheap",)


def test_needs_that_have_grown_push_an_idle_model_out() -> None:
    assert decided(loaded("a", 16.0, busy=True), loaded("b", 12.0)).sleep == ("b",)


def test_model_alone_in_its_room_may_overfill_it() -> None:
    assert decided(loaded("a", 99.0)) == Decision()


claims = st.builds(
    Claim,
    model=st.uuids().map(str),
    need=st.fixed_dictionaries({GPU_MEMORY: st.floats(0.5, 40.0)}),
    places=st.sampled_from([(), ("gpu",), ("other",)]),
    leaving=st.booleans(),
    busy=st.booleans(),
    pinned=st.booleans(),
    waiting_seconds=st.none() | st.floats(0, 100),
    held_seconds=st.floats(0, 100),
    idle_seconds=st.floats(0, 1000),
    load_seconds=st.floats(0.1, 100),
)


@given(st.lists(claims, max_size=8))
def test_whatever_is_decided_keeps_the_rules(every: list[Claim]) -> None:
    rooms = (GPU, Room("other", {GPU_MEMORY: 40.0}))
    decision = decide(every, rooms, patience=PATIENCE)
    by_name = {claim.model: claim for claim in every}
    for name in decision.sleep:
        claim = by_name[name]
        overdue = claim.held_seconds >= PATIENCE and not claim.busy
        assert claim.may_sleep or overdue
        assert not claim.pinned
    for name in decision.yielding:
        assert not by_name[name].pinned
        assert by_name[name].held_seconds >= PATIENCE
    for room in rooms:
        woken = [by_name[name] for name, place in decision.wake.items() if place == room.name]
        if woken:
            held = [claim for claim in every if room.name in claim.places]
            taken = sum(min(each.need[GPU_MEMORY], room.amounts[GPU_MEMORY]) for each in (*woken, *held))
            assert taken <= room.amounts[GPU_MEMORY] * 1.0001
    assert not set(decision.wake) & set(decision.sleep)


def test_rounds_of_alternating_requests_end_with_one_swap() -> None:
    """A B A B A B, all there at once: B's turn comes when A's requests are done."""
    assert decided(loaded("a", 20.0, busy=True, waiting_seconds=2.0), wanted("b", 20.0)) == Decision()
    assert decided(loaded("a", 20.0, idle_seconds=0.0), wanted("b", 20.0)).sleep == ("a",)
    assert decided(wanted("b", 20.0)).wake == {"b": "gpu"}
