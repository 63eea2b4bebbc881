"""What goes wrong inside diffusers and torch, translated into the engine's own errors."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from engines.errors import EngineError, EngineFault, GenerationFailed, InvalidRequest, OutOfMemory
from engines.wording import described, first_line

_OUT_OF_MEMORY_TEXTS: Final = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""Of the plain RuntimeErrors of CUDA's libraries and the CPU's allocator: torch has a class only for
its own CUDA allocator, and nothing but the text tells these from other errors."""

_CHECKS: Final = frozenset({"check_inputs", "retrieve_timesteps"})
"""Functions of diffusers that refuse arguments: the latter, ``sigmas`` that a scheduler does not take."""


@contextmanager
def translated(model: str) -> Iterator[None]:
    """Turn whatever a pipeline of ``model`` raises into an `EngineError`, the cause kept.

    The tensors that the failed call held are let go at once, not when the error is forgotten.

    Raises:
        InvalidRequest: the pipeline's own checks refused; the text is the pipeline's.
        OutOfMemory: of the device or of the host.
        GenerationFailed: anything else, as the exception's type and first line, without paths.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # a pipeline may raise anything; here it gets its class and its words
        refused = _refused(error)
        failure = InvalidRequest(first_line(error)) if refused else _fault(model, error)
        traceback.clear_frames(error.__traceback__)
        if isinstance(failure, OutOfMemory) and torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise failure from error


def _refused(error: Exception) -> bool:
    """Whether the error comes out of the pipeline's check of its arguments, before any work."""
    frames = traceback.walk_tb(error.__traceback__)
    return isinstance(error, ValueError | TypeError) and any(
        frame.f_code.co_name in _CHECKS for frame, _ in frames
    )


def _fault(model: str, error: Exception) -> EngineFault:
    text = str(error)
    exhausted = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if exhausted or (isinstance(error, RuntimeError) and any(each in text for each in _OUT_OF_MEMORY_TEXTS)):
        return OutOfMemory(model, "smaller or fewer images may fit")
    return GenerationFailed(model, described(error))
