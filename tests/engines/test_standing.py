"""Which of a model's replicas a call is sent to."""

from engines.standing import Standing, preferred


def test_calls_go_to_all_replicas_that_are_ready() -> None:
    replicas = [("a", Standing.READY), ("b", Standing.LOADING), ("c", Standing.READY)]
    assert preferred(replicas) == ["a", "c"]


def test_while_none_is_ready_calls_wait_for_the_eldest() -> None:
    assert preferred([("a", Standing.LOADING), ("b", Standing.LOADING)]) == ["a"]


def test_replica_that_loads_is_better_than_one_that_leaves() -> None:
    assert preferred([("a", Standing.LEAVING), ("b", Standing.LOADING)]) == ["b"]


def test_without_replicas_there_is_nobody_to_call() -> None:
    assert preferred([]) == []
