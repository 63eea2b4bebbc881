"""What Ray raises under a call to an engine, in our own words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, cast

import pytest
import ray.exceptions
import ray.serve.exceptions
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from engines.errors import (
    EngineBusy,
    EngineError,
    EngineLost,
    GenerationFailed,
    HostMemoryExhausted,
    UnknownParameter,
)
from gateway.dispatch import LOST, translated


def foreign_errors() -> Iterator[Any]:
    """Every class of error that Ray or Serve names."""
    for module in (ray.exceptions, ray.serve.exceptions):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            # A task's error is what an engine raised, and has tests of its own.
            if issubclass(kind, RayError | RayServeException) and kind is not RayTaskError:
                yield kind


def raised(kind: type[Exception]) -> EngineError:
    """What comes out where an error of this kind went in."""
    # Their constructors take what only Ray knows.
    error = kind.__new__(kind)
    with pytest.raises(EngineError) as caught, translated("k3"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


def wrapped(error: Exception) -> Exception:
    """An engine's error as it arrives here."""
    kind: Any = RayTaskError
    return cast(Exception, kind("generate", "a remote traceback", error).as_instanceof_cause())


@pytest.mark.parametrize("kind", sorted(set(foreign_errors()), key=str))
def test_nothing_of_ray_passes(kind: type[Exception]) -> None:
    assert isinstance(raised(kind), EngineLost | EngineBusy | GenerationFailed | HostMemoryExhausted)


@pytest.mark.parametrize("kind", LOST)
def test_a_lost_engine_is_tried_again(kind: type[Exception]) -> None:
    assert isinstance(raised(kind), EngineLost)


def test_an_engine_that_ray_ended_for_its_machines_sake_is_told_as_such() -> None:
    assert isinstance(raised(OutOfMemoryError), HostMemoryExhausted)


def test_a_full_queue_is_a_busy_engine() -> None:
    assert isinstance(raised(BackPressureError), EngineBusy)


def test_an_engines_own_error_comes_out_of_its_wrapping() -> None:
    own = UnknownParameter("stepz", ["steps"], ["steps"])
    with pytest.raises(UnknownParameter) as caught, translated("k3"):
        raise wrapped(own)
    assert caught.value is own


def test_what_an_engine_should_not_raise_is_a_failed_generation() -> None:
    with pytest.raises(GenerationFailed, match="unexpected KeyError"), translated("k3"):
        raise wrapped(KeyError("x"))


def test_an_error_that_names_a_dead_actor_is_a_lost_engine() -> None:
    with pytest.raises(EngineLost), translated("k3"):
        raise ActorDiedError
