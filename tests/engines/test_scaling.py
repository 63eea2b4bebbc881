"""The decision how many replicas an engine should have."""

import pytest

from engines.scaling import Load, decide


def wanted(load: Load, *, idle_seconds: float = 0.0, recent_need: int = 0) -> int:
    return decide(load, idle_seconds=idle_seconds, idle_limit=300, per_replica=4, recent_need=recent_need)


def test_sleeping_engine_is_left_to_serves_own_waking() -> None:
    assert wanted(Load(requests=0, replicas=0, target=0, leaving=False)) == 0


def test_waking_engine_keeps_its_target() -> None:
    assert wanted(Load(requests=1, replicas=0, target=1, leaving=False)) == 1


def test_idle_engine_stays_until_the_limit() -> None:
    idle = Load(requests=0, replicas=1, target=1, leaving=False)
    assert wanted(idle, idle_seconds=299) == 1
    assert wanted(idle, idle_seconds=301) == 0


def test_engine_that_asked_to_leave_goes_at_once() -> None:
    assert wanted(Load(requests=0, replicas=1, target=1, leaving=True)) == 0


def test_leaving_engine_ends_its_requests_first() -> None:
    assert wanted(Load(requests=1, replicas=1, target=1, leaving=True)) == 1


@pytest.mark.parametrize(("requests", "replicas"), [(1, 1), (4, 1), (5, 2), (17, 5)])
def test_load_is_spread_over_replicas(requests: int, replicas: int) -> None:
    assert wanted(Load(requests=requests, replicas=1, target=1, leaving=False)) == replicas


def test_replicas_needed_a_moment_ago_are_kept() -> None:
    calmer = Load(requests=1, replicas=3, target=3, leaving=False)
    assert wanted(calmer, recent_need=3) == 3
