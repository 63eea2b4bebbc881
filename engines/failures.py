"""What goes wrong inside diffusers and torch, translated into the engine's own errors."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch

from engines.devices import cuda_in_use
from engines.errors import (
    DeviceFailed,
    EngineError,
    EngineFault,
    GenerationFailed,
    InvalidRequest,
    OutOfMemory,
)
from engines.wording import described, first_line

_OUT_OF_MEMORY_TEXTS: Final = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""Of the plain RuntimeErrors of CUDA's libraries and the CPU's allocator: torch has a class only for
its own CUDA allocator, and nothing but the text tells these from other errors."""

_CHECKS: Final = frozenset({"check_inputs", "retrieve_timesteps"})
"""Functions of diffusers that refuse arguments: the latter, ``sigmas`` that a scheduler does not take."""


def device_answers() -> bool:
    """Whether the GPU still computes for this process; true where none is in use.

    An illegal address or a failed assertion in a kernel spoils the context for good: every call after it
    fails, the next one first.
    """
    if not cuda_in_use():
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


@contextmanager
def translated(model: str, *, answers: Callable[[], bool] = device_answers) -> Iterator[None]:
    """Turn whatever a pipeline of ``model`` raises into an `EngineError`, the cause kept.

    The tensors that the failed call held are let go at once, not when the error is forgotten, and where
    memory has run out, what torch keeps for later is given back. ``answers`` tells whether the device does.

    Raises:
        InvalidRequest: the pipeline's own checks refused; the text is the pipeline's.
        OutOfMemory: of the device or of the host.
        DeviceFailed: the device no longer computes for this process.
        GenerationFailed: anything else, as the exception's type and first line, without paths.
    """
    try:
        yield
    except EngineError as error:
        _forget(error)
        raise
    except Exception as error:  # a pipeline may raise anything; here it gets its class and its words
        failure = _failure(model, error, answers)
        _forget(error)
        if isinstance(failure, OutOfMemory):
            _give_back()
        raise failure from error


def _failure(model: str, error: Exception, answers: Callable[[], bool]) -> EngineError:
    if _refused(error):
        return InvalidRequest(first_line(error))
    if _exhausted(error) and answers():
        return OutOfMemory(model, "smaller or fewer images may fit")
    return _fault(model, error, answers)


def _refused(error: Exception) -> bool:
    """Whether the error comes out of the pipeline's check of its arguments, before any work."""
    frames = traceback.walk_tb(error.__traceback__)
    return isinstance(error, ValueError | TypeError) and any(
        frame.f_code.co_name in _CHECKS for frame, _ in frames
    )


def _exhausted(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _OUT_OF_MEMORY_TEXTS)


def _fault(model: str, error: Exception, answers: Callable[[], bool]) -> EngineFault:
    failed = isinstance(error, torch.AcceleratorError) or not answers()
    return (DeviceFailed if failed else GenerationFailed)(model, described(error))


def _forget(error: BaseException) -> None:
    """Let go what the frames of an error hold, and those of the errors that it came from."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


def _give_back() -> None:
    gc.collect()
    if cuda_in_use():
        torch.cuda.empty_cache()
