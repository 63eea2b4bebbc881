"""The decision how many replicas an engine should have, and whether there is room for one more."""

import math
from collections.abc import Mapping

import pytest

from engines.scaling import LOOK_SECONDS, PAUSE_SECONDS, START_SECONDS, Growth, Load, decide, has_room


def wanted(
    load: Load, *, idle_seconds: float = 0.0, recent_need: int = 0, most: float = math.inf, limit: float = 300
) -> int:
    return decide(
        load, idle_seconds=idle_seconds, idle_limit=limit, per_replica=4, recent_need=recent_need, most=most
    )


def test_sleeping_engine_is_left_to_serves_own_waking() -> None:
    assert wanted(Load(requests=0, replicas=0, target=0)) == 0


def test_waking_engine_keeps_its_target() -> None:
    assert wanted(Load(requests=1, replicas=0, target=1)) == 1


def test_start_that_nobody_waits_for_is_given_up() -> None:
    starting = Load(requests=0, replicas=0, target=1)
    assert wanted(starting, idle_seconds=4) == 1
    assert wanted(starting, idle_seconds=6) == 0


def test_idle_engine_stays_until_the_limit() -> None:
    idle = Load(requests=0, replicas=1, target=1)
    assert wanted(idle, idle_seconds=299) == 1
    assert wanted(idle, idle_seconds=301) == 0


def test_engine_that_is_kept_warm_stays() -> None:
    idle = Load(requests=0, replicas=1, target=1)
    assert wanted(idle, idle_seconds=1e9, limit=math.inf) == 1


def test_engine_that_asked_to_leave_goes_at_once() -> None:
    assert wanted(Load(requests=0, replicas=1, target=1, leaving=1)) == 0


def test_leaving_engine_ends_its_requests_first() -> None:
    assert wanted(Load(requests=1, replicas=1, target=1, leaving=1)) == 1


def test_model_of_which_one_replica_was_told_to_leave_goes_as_a_whole() -> None:
    assert wanted(Load(requests=0, replicas=2, target=2, leaving=1), recent_need=2) == 0


@pytest.mark.parametrize(("requests", "replicas"), [(1, 1), (4, 1), (5, 2), (17, 5)])
def test_load_is_spread_over_replicas(requests: int, replicas: int) -> None:
    assert wanted(Load(requests=requests, replicas=1, target=1)) == replicas


def test_replicas_needed_a_moment_ago_are_kept() -> None:
    calmer = Load(requests=1, replicas=3, target=3)
    assert wanted(calmer, recent_need=3) == 3


def test_no_more_replicas_than_there_can_be() -> None:
    busy = Load(requests=9, replicas=1, target=1)
    assert wanted(busy, recent_need=3, most=2) == 2
    assert wanted(busy, recent_need=3, most=0) == 1


@pytest.mark.parametrize(
    ("reserved", "there_is"),
    [
        ({}, True),
        ({"GPU": 0.0}, True),
        ({"GPU": 1.0}, True),
        ({"GPU": 1.0, "fast": 1.0}, False),
        ({"GPU": 1.5}, False),
    ],
)
def test_room_is_there_when_every_reserved_resource_is(reserved: Mapping[str, float], there_is: bool) -> None:
    assert has_room(reserved, {"GPU": 1.0, "CPU": 2.0}) == there_is


class Cluster:
    """What is available of the one resource ``slot``."""

    def __init__(self, slots: float) -> None:
        self.slots = slots

    def available(self) -> Mapping[str, float]:
        return {"slot": self.slots}

    def growth(self) -> Growth:
        return Growth({"slot": 1.0}, self.available)


ONE = Load(requests=5, replicas=1, target=1)
SECOND_ASKED_FOR = Load(requests=5, replicas=1, target=2)


def test_replica_is_added_where_there_is_room() -> None:
    assert Cluster(1).growth().most(ONE, 2, 0.0) == math.inf


def test_no_replica_is_asked_for_that_would_wait_for_room() -> None:
    cluster = Cluster(0)
    growth = cluster.growth()
    assert growth.most(ONE, 2, 0.0) == 1
    cluster.slots = 1
    assert growth.most(ONE, 2, LOOK_SECONDS + 0.1) == math.inf


def test_replica_that_starts_has_taken_its_room() -> None:
    cluster = Cluster(1)
    growth = cluster.growth()
    growth.most(ONE, 2, 0.0)
    cluster.slots = 0
    assert growth.most(SECOND_ASKED_FOR, 2, START_SECONDS - 1) == math.inf


def test_replica_that_waits_for_room_is_given_up() -> None:
    cluster = Cluster(1)
    growth = cluster.growth()
    growth.most(ONE, 2, 0.0)
    cluster.slots = 0
    assert growth.most(SECOND_ASKED_FOR, 2, START_SECONDS + 1) == 1


def test_failed_replica_of_several_goes_and_is_not_replaced_for_a_while() -> None:
    growth = Cluster(1).growth()
    assert growth.most(Load(requests=5, replicas=2, target=2, leaving=1), 2, 0.0) == 1
    assert growth.most(ONE, 2, PAUSE_SECONDS - 1) == 1
    assert growth.most(ONE, 2, PAUSE_SECONDS + 1) == math.inf


def test_model_that_leaves_is_given_no_more_replicas() -> None:
    assert Cluster(1).growth().most(Load(requests=5, replicas=1, target=1, leaving=1), 2, 0.0) == 1
