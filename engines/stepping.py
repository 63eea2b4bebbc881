"""The hook into a running pipeline: the ``step`` of its schedulers.

249 of the 262 pipeline classes of diffusers 0.42 call ``scheduler.step`` once for every denoising
step, while 15 offer no callback at all: so progress is counted, and a run is ended, from there.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from diffusers import DiffusionPipeline

from engines.errors import GenerationStopped
from engines.interrupting import interruptible

OnStep = Callable[[int, int], None]
"""Takes the number of steps made, counted from 1, and the number expected in all."""


@dataclass(frozen=True)
class Step:
    """A step that a scheduler has just made, for hooks that look at the latents or change them.

    ``main`` is false for the steps of a prior, whose latents are no picture's. ``number`` counts this
    scheduler's steps from 1, ``of`` is how many it will make; ``next_timestep`` is ``None`` after the
    last. ``sample`` and ``model_output`` are what the step began with.
    """

    scheduler: Any
    main: bool
    number: int
    of: int
    timestep: Any
    next_timestep: Any
    model_output: torch.Tensor
    sample: torch.Tensor
    result: Any

    @property
    def latents(self) -> torch.Tensor:
        """What the step made of the sample."""
        latents: torch.Tensor = self.result[0]
        return latents

    def with_latents(self, latents: torch.Tensor) -> Any:
        """The step's result with other latents."""
        if isinstance(self.result, tuple):
            return (latents, *self.result[1:])
        return type(self.result)(**(dict(self.result) | {"prev_sample": latents}))


StepHook = Callable[[Step], Any]
"""Takes a step; returns its result, changed or not."""


class StepWatch:
    """Counts the steps of one pipeline call, over all of its schedulers.

    Every scheduler is a stage (a Kandinsky 2 model has the prior's and the decoder's); the total is
    the sum of the stages. A stage is known when its first step is made: it is then the rest of
    ``scheduler.timesteps`` from there on, because image-to-image starts in the middle and some
    schedulers make more steps than were asked for (PNDM makes 5 of 4). Until then it counts with
    the steps that were planned for it.
    """

    def __init__(
        self,
        *,
        model: str,
        stop: threading.Event,
        on_step: OnStep,
        already: int = 0,
        hooks: Sequence[StepHook] = (),
    ) -> None:
        self.hooks = tuple(hooks)
        self._model = model
        self._already = already
        self._stop = stop
        self._on_step = on_step
        self._planned: dict[int, int] = {}
        self._stages: dict[int, tuple[int, int]] = {}

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return sum(made for made, _ in self._stages.values())

    @property
    def total(self) -> int:
        """Steps expected in all, those already made included."""
        return sum(self._planned.values()) + sum(length for _, length in self._stages.values())

    def plan(self, scheduler: Any, steps: int) -> None:
        """State how many steps ``scheduler`` will probably make."""
        self._planned[id(scheduler)] = steps

    def check(self) -> None:
        """Raise `GenerationStopped` where somebody asked for the end."""
        if self._stop.is_set():
            raise GenerationStopped(self._model, self._already + self.steps)

    def begin(self, scheduler: Any, timestep: Any, *, last: bool) -> None:
        """Note a step about to be made, so that its stage's length is known before it is reported.

        No stage follows the ``last``: what was planned for a prior that is not asked is dropped.
        """
        key = id(scheduler)
        if last:
            self._planned = {each: steps for each, steps in self._planned.items() if each == key}
        made, length = self._stages.get(key, (0, 0))
        if made == length:
            self._planned.pop(key, None)
            length += _steps_left(scheduler, timestep)
        self._stages[key] = (made, length)

    def stage(self, scheduler: Any) -> tuple[int, int]:
        """Steps made by ``scheduler``, and how many it will make in all."""
        return self._stages[id(scheduler)]

    def end(self, scheduler: Any) -> None:
        """Count a step made, report it, and stop here if that was asked for."""
        made, length = self._stages[id(scheduler)]
        self._stages[id(scheduler)] = (made + 1, length)
        self._on_step(self.steps, self.total)
        self.check()


class _WatchedStep:
    """Stands in for one scheduler's ``step``; has its signature, which pipelines inspect."""

    def __init__(self, scheduler: Any, original: Callable[..., Any], watch: StepWatch, *, main: bool) -> None:
        functools.update_wrapper(self, original)
        self._scheduler = scheduler
        self._main = main
        self._original = original
        self._watch = watch

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._watch.check()
        timestep = args[1] if len(args) > 1 else kwargs.get("timestep")
        self._watch.begin(self._scheduler, timestep, last=self._main)
        result = self._original(*args, **kwargs)
        if self._watch.hooks:
            result = self._hooked(result, *args, **kwargs)
        self._watch.end(self._scheduler)
        return result

    def _hooked(
        self, result: Any, model_output: Any = None, timestep: Any = None, sample: Any = None, **_: Any
    ) -> Any:
        made, length = self._watch.stage(self._scheduler)
        for hook in self._watch.hooks:
            step = Step(
                scheduler=self._scheduler,
                main=self._main,
                number=made + 1,
                of=length,
                timestep=timestep,
                next_timestep=_next_timestep(self._scheduler, length - made - 1),
                model_output=model_output,
                sample=sample,
                result=result,
            )
            result = hook(step)
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> _WatchedStep:
        """Follow the scheduler into its copy: ten pipelines step a deep copy of theirs."""
        twin = memo.get(id(self._scheduler))
        if twin is None or not isinstance(self._original, MethodType):
            return self
        return _WatchedStep(twin, MethodType(self._original.__func__, twin), self._watch, main=self._main)


@contextmanager
def watched(
    pipeline: Any,
    *,
    model: str,
    stop: threading.Event,
    on_step: OnStep,
    arguments: Mapping[str, Any],
    already: int = 0,
    hooks: Sequence[StepHook] = (),
) -> Iterator[StepWatch]:
    """Watch one call of ``pipeline``: report its steps, and end it when ``stop`` is set.

    ``arguments`` are those of the call: ``num_inference_steps`` is the plan of ``scheduler``,
    ``prior_num_inference_steps`` that of ``prior_scheduler``, and so on. ``already`` steps were made by
    earlier calls of the same request; only the error counts them in. ``hooks`` see every step, and may
    change what it made. The schedulers get their
    own ``step`` back in every case. After an exception the hooks of offloaded and caching
    components are put back too, which a pipeline does only at the end of a call that succeeds.

    Raises:
        GenerationStopped: before the next component computes, at a step's boundary at the latest, or at
            once where ``stop`` is set already.
    """
    watch = StepWatch(model=model, stop=stop, on_step=on_step, already=already, hooks=hooks)
    watch.check()
    pipelines = list(_pipelines(pipeline))
    replaced: list[tuple[Any, Any]] = []
    for name, scheduler in _schedulers(pipelines):
        steps = arguments.get(name.removesuffix("scheduler") + "num_inference_steps")
        watch.plan(scheduler, steps if isinstance(steps, int) else 0)
        replaced.append((scheduler, vars(scheduler).get("step")))
        scheduler.step = _WatchedStep(scheduler, scheduler.step, watch, main=name == "scheduler")
    try:
        with interruptible(pipelines, watch.check):
            yield watch
    except BaseException:
        for each in pipelines:
            each.maybe_free_model_hooks()
        raise
    finally:
        for scheduler, own in replaced:
            if own is None:
                del scheduler.step
            else:
                scheduler.step = own


def _pipelines(pipeline: Any) -> Iterator[Any]:
    """The pipeline and those inside it (a combined one holds a prior's and a decoder's)."""
    yield pipeline
    for value in vars(pipeline).values():
        if isinstance(value, DiffusionPipeline):
            yield from _pipelines(value)


def _schedulers(pipelines: list[Any]) -> Iterator[tuple[str, Any]]:
    """Every scheduler once, under the name that the outermost pipeline gives it."""
    seen: set[int] = set()
    for pipeline in pipelines:
        for name, component in pipeline.components.items():
            known = hasattr(component, "step") and hasattr(component, "set_timesteps")
            if known and id(component) not in seen:
                seen.add(id(component))
                yield name, component


def _next_timestep(scheduler: Any, left: int) -> Any:
    """The timestep of the next step, of which there are ``left``."""
    timesteps = getattr(scheduler, "timesteps", None)
    if left <= 0 or timesteps is None or left > len(timesteps):
        return None
    return timesteps[len(timesteps) - left]


def _steps_left(scheduler: Any, timestep: Any) -> int:
    """How many steps a stage has that begins at ``timestep``; at least this one."""
    timesteps = getattr(scheduler, "timesteps", None)
    if timesteps is None or len(timesteps) == 0:
        return 1
    if timestep is None:
        return len(timesteps)
    first = torch.as_tensor(timestep).flatten()[0]
    places = (torch.as_tensor(timesteps).to(first.device) == first).nonzero()
    return len(timesteps) - int(places[0]) if len(places) else len(timesteps)
