"""Whatever a pipeline raises comes out as one of the engine's errors."""

from __future__ import annotations

import weakref

import pytest
import torch
from diffusers import PNDMScheduler
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import retrieve_timesteps

from engines.errors import (
    DeviceFailed,
    EngineBusy,
    EngineError,
    GenerationFailed,
    InvalidRequest,
    OutOfMemory,
)
from engines.failures import translated


def check_inputs(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise ValueError("`prompt` has to be of type `str`")


def failing(error: BaseException) -> EngineError:
    with pytest.raises(EngineError) as caught, translated("tiny"):
        raise error
    return caught.value


def test_sigmas_that_a_scheduler_does_not_take_are_the_callers_fault() -> None:
    scheduler = PNDMScheduler()  # type: ignore[no-untyped-call]  # diffusers' own
    with pytest.raises(InvalidRequest, match="does not support custom sigmas"), translated("tiny"):
        retrieve_timesteps(scheduler, sigmas=[1.0])


def test_what_check_inputs_refuses_is_the_callers_fault() -> None:
    with (
        pytest.raises(InvalidRequest, match=r"^`prompt` has to be of type `str`$") as caught,
        translated("tiny"),
    ):
        check_inputs(7)
    assert caught.value.parameter is None
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_same_error_from_elsewhere_is_a_failure() -> None:
    failure = failing(ValueError("not in `check_inputs`"))
    assert isinstance(failure, GenerationFailed)
    assert (failure.model, failure.reason) == ("tiny", "ValueError: not in `check_inputs`")


def test_an_engine_error_passes_unchanged() -> None:
    busy = EngineBusy("tiny", 3, 1.0)
    assert failing(busy) is busy


def test_only_the_first_line_is_told_and_no_path() -> None:
    text = "cannot open /srv/models/tiny v2/unet.bin or C:\\models\\a.bin, 3/4 done\nTraceback: secret"
    failure = failing(RuntimeError(text))
    assert isinstance(failure, GenerationFailed)
    assert failure.reason == "RuntimeError: cannot open … v2/unet.bin or …, 3/4 done"


def test_an_error_without_words_is_told_by_its_type() -> None:
    failure = failing(ZeroDivisionError())
    assert isinstance(failure, GenerationFailed)
    assert failure.reason == "ZeroDivisionError"


def test_the_host_running_out_of_memory_is_told_apart() -> None:
    with pytest.raises(OutOfMemory, match="smaller or fewer images may fit"), translated("tiny"):
        torch.empty(2**58, dtype=torch.uint8)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_every_way_of_running_out_of_memory_is_known(error: Exception) -> None:
    assert isinstance(failing(error), OutOfMemory)


@pytest.mark.parametrize(
    ("error", "answers"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (torch.OutOfMemoryError("CUDA out of memory."), False),
    ],
)
def test_a_device_that_computes_nothing_more_is_told_apart(error: Exception, answers: bool) -> None:
    with (
        pytest.raises(DeviceFailed, match="a new one takes over"),
        translated("tiny", answers=lambda: answers),
    ):
        raise error


def test_the_tensors_of_the_errors_before_it_are_let_go_too() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def pipeline() -> None:
        latents = torch.zeros(8)
        held.append(weakref.ref(latents))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def outer() -> None:
        try:
            pipeline()
        except torch.OutOfMemoryError as error:
            raise ValueError("a library says it in its own words") from error

    with pytest.raises(GenerationFailed), translated("tiny"):
        outer()
    assert held[0]() is None


def test_the_failed_calls_tensors_are_let_go_while_the_error_lives() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def pipeline() -> None:
        latents = torch.zeros(8)
        held.append(weakref.ref(latents))
        raise RuntimeError("in the middle")

    with pytest.raises(GenerationFailed) as caught, translated("tiny"):
        pipeline()
    assert caught.value.__cause__ is not None
    assert held[0]() is None


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt), translated("tiny"):
        raise KeyboardInterrupt
