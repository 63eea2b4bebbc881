"""A running pipeline is counted and ended from its schedulers, and is as new afterwards."""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.utils import logging as diffusers_logging
from PIL import Image

from engines.errors import GenerationStopped
from engines.stepping import StepWatch, watched

library: Any = diffusers  # its functions have no types

pytestmark = [
    # Kandinsky 2.2's combined pipeline hands its own default on to a decoder that deprecates it.
    pytest.mark.filterwarnings("ignore:`callback_steps` is deprecated:FutureWarning"),
    # diffusers' Euler scheduler gives torch tensors to NumPy 2 in the way of NumPy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SMALL = {"height": 64, "width": 64, "num_inference_steps": 3}
CALLS: dict[str, dict[str, Any]] = {
    "kandinsky21": {**SMALL, "prior_num_inference_steps": 2},
    "kandinsky22": {**SMALL, "prior_num_inference_steps": 2},
    "kandinsky3": SMALL,
    # It always draws a megapixel, and decoding one takes seconds.
    "kandinsky5": {"num_inference_steps": 2, "output_type": "latent"},
    "sd15": SMALL,
    "sdxl": SMALL,
    "flux": SMALL,
}

Pipelines = Callable[[str], Any]


@pytest.fixture(scope="module")
def pipelines(tiny_models: Callable[[str], Path]) -> Pipelines:
    """Give the live tiny pipeline of this name."""
    diffusers_logging.disable_progress_bar()
    opened: dict[str, Any] = {}

    def open_once(name: str) -> Any:
        if name not in opened:
            opened[name] = library.DiffusionPipeline.from_pretrained(tiny_models(name))
            opened[name].set_progress_bar_config(disable=True)
        return opened[name]

    return open_once


def drawn(pipeline: Any, prompt: str, **arguments: Any) -> np.ndarray[Any, Any]:
    output = pipeline(prompt=prompt, generator=torch.Generator("cpu").manual_seed(3), **arguments)
    first = output[0]
    return np.asarray(first if isinstance(first, torch.Tensor) else first[0])


def draw_until(step: int, pipeline: Any, **arguments: Any) -> list[tuple[int, int]]:
    """Draw something, ask for the end at ``step``, and return what was reported."""
    stop = threading.Event()
    reports: list[tuple[int, int]] = []

    def on_step(made: int, total: int) -> None:
        reports.append((made, total))
        if made == step:
            stop.set()

    with watched(pipeline, model="tiny", stop=stop, on_step=on_step, arguments=arguments):
        drawn(pipeline, "somebody else's prompt", **arguments)
    return reports


@pytest.mark.parametrize("name", CALLS)
def test_after_a_stop_the_next_picture_is_as_if_nothing_had_happened(name: str, pipelines: Pipelines) -> None:
    pipeline = pipelines(name)
    fresh = drawn(pipeline, "a red fox", **CALLS[name])
    with pytest.raises(GenerationStopped) as stopped:
        draw_until(1, pipeline, **CALLS[name])
    assert (stopped.value.model, stopped.value.step) == ("tiny", 1)
    np.testing.assert_array_equal(drawn(pipeline, "a red fox", **CALLS[name]), fresh)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_combined_pipeline_can_be_stopped_in_either_stage(step: int, pipelines: Pipelines) -> None:
    pipeline = pipelines("kandinsky22")
    fresh = drawn(pipeline, "a red fox", **CALLS["kandinsky22"])
    with pytest.raises(GenerationStopped) as stopped:
        draw_until(step, pipeline, **CALLS["kandinsky22"])
    assert stopped.value.step == step
    np.testing.assert_array_equal(drawn(pipeline, "a red fox", **CALLS["kandinsky22"]), fresh)


def test_a_stop_frees_what_a_step_cache_remembers(tiny_models: Callable[[str], Path]) -> None:
    pipeline = library.DiffusionPipeline.from_pretrained(tiny_models("flux"))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.transformer.enable_cache(library.FirstBlockCacheConfig(threshold=10.0))
    fresh = drawn(pipeline, "a red fox", **SMALL)
    with pytest.raises(GenerationStopped):
        draw_until(2, pipeline, **SMALL)
    np.testing.assert_array_equal(drawn(pipeline, "a red fox", **SMALL), fresh)


@pytest.mark.parametrize("name", ["kandinsky3", "sdxl", "flux"])
def test_every_step_is_reported_once(name: str, pipelines: Pipelines) -> None:
    assert draw_until(0, pipelines(name), **SMALL) == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("name", ["kandinsky21", "kandinsky22"])
def test_prior_and_decoder_make_one_progress(name: str, pipelines: Pipelines) -> None:
    assert draw_until(0, pipelines(name), **CALLS[name]) == [(i, 5) for i in range(1, 6)]


def test_steps_beyond_those_asked_for_are_foreseen(pipelines: Pipelines) -> None:
    # PNDM makes one more.
    assert draw_until(0, pipelines("sd15"), **SMALL) == [(i, 4) for i in range(1, 5)]


def test_image_to_image_counts_from_where_it_starts(pipelines: Pipelines) -> None:
    pipeline = library.Kandinsky3Img2ImgPipeline(**pipelines("kandinsky3").components)
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"image": Image.new("RGB", (64, 64), "red"), "num_inference_steps": 10, "strength": 0.4}
    assert draw_until(0, pipeline, **arguments) == [(i, 4) for i in range(1, 5)]


def test_a_stop_asked_for_beforehand_starts_nothing(pipelines: Pipelines) -> None:
    stop = threading.Event()
    stop.set()
    ran = False
    with (
        pytest.raises(GenerationStopped) as stopped,
        watched(pipelines("flux"), model="tiny", stop=stop, on_step=lambda *_: None, arguments={}),
    ):
        ran = True
    assert not ran
    assert stopped.value.step == 0


@pytest.mark.parametrize("failure", [None, ValueError, KeyboardInterrupt])
def test_the_schedulers_get_their_own_step_back(
    failure: type[BaseException] | None, pipelines: Pipelines
) -> None:
    pipeline = pipelines("kandinsky22")
    schedulers = [pipeline.prior_scheduler, pipeline.scheduler]
    try:
        with watched(pipeline, model="tiny", stop=threading.Event(), on_step=lambda *_: None, arguments={}):
            assert all("step" in vars(scheduler) for scheduler in schedulers)
            if failure is not None:
                raise failure
    except (ValueError, KeyboardInterrupt):
        assert failure is not None
    assert not any("step" in vars(scheduler) for scheduler in schedulers)


def test_a_step_that_was_replaced_before_is_put_back(pipelines: Pipelines) -> None:
    scheduler = pipelines("flux").scheduler
    scheduler.step = own = scheduler.step
    try:
        assert len(draw_until(0, pipelines("flux"), **SMALL)) == 3
        assert scheduler.step is own
    finally:
        del scheduler.step


def test_the_watched_step_shows_the_schedulers_own_signature(pipelines: Pipelines) -> None:
    # Pipelines look there whether a scheduler takes ``eta`` or ``generator``.
    pipeline = pipelines("kandinsky3")
    own = inspect.signature(pipeline.scheduler.step)
    with watched(pipeline, model="tiny", stop=threading.Event(), on_step=lambda *_: None, arguments={}):
        assert inspect.signature(pipeline.scheduler.step) == own


def test_a_copied_scheduler_steps_itself_and_is_counted(pipelines: Pipelines) -> None:
    pipeline = pipelines("sdxl")
    reports: list[int] = []
    with watched(
        pipeline,
        model="tiny",
        stop=threading.Event(),
        on_step=lambda made, _: reports.append(made),
        arguments={},
    ):
        pipeline.scheduler.set_timesteps(2)
        twin = copy.deepcopy(pipeline.scheduler)
        twin.step(torch.zeros(1, 4, 8, 8), twin.timesteps[0], torch.zeros(1, 4, 8, 8))
    assert (twin.step_index, pipeline.scheduler.step_index) == (1, None)
    assert reports == [1]


def test_a_scheduler_that_starts_again_makes_a_longer_run() -> None:
    scheduler = library.EulerDiscreteScheduler()
    reports: list[tuple[int, int]] = []
    watch = StepWatch(
        model="tiny", stop=threading.Event(), on_step=lambda made, total: reports.append((made, total))
    )
    scheduler.set_timesteps(2)
    for timestep in [*scheduler.timesteps, *scheduler.timesteps]:
        watch.begin(scheduler, timestep, last=True)
        watch.end(scheduler)
    assert reports == [(1, 2), (2, 2), (3, 4), (4, 4)]
