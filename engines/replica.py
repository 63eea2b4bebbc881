"""The engine as a Ray Serve deployment: a thin shell around loading and generation.

One Serve application per model, at zero replicas until a call wakes it. The constructor returns at
once and never raises: Serve restarts a replica whose constructor raises for ever and leaves its
queue hanging. Loading runs in the background, and a failed load is an answer.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from engines.calls import (
    EncodedImage,
    EngineCall,
    EngineEvent,
    EngineOptions,
    EngineResult,
    ImageFormat,
    LoadPhase,
    LoadProgress,
    Preview,
    StepProgress,
)
from engines.card import ModelCard
from engines.errors import EngineLeaving, InvalidParameter, LoadFailed
from engines.events import Events
from engines.schema import Frozen, PipelineSchema
from engines.warming import Warming

if TYPE_CHECKING:
    from engines.generation import Generated
    from engines.loading import LoadedModel

_logger = logging.getLogger(__name__)

DEPLOYMENT = "Engine"
LONGEST_GENERATION_SECONDS = 3600.0


class EngineArgs(Frozen):
    """The arguments of a model's Serve application."""

    card: ModelCard
    options: EngineOptions = EngineOptions()


class Engine:
    """One replica of one model."""

    def __init__(self, args: EngineArgs) -> None:
        self._card = args.card
        self._options = args.options
        # One thread for the pipeline: a pipeline object is not safe for concurrent calls.
        self._pipeline_thread = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        self._encoders = ThreadPoolExecutor(2, thread_name_prefix="encode")
        self._warming = Warming(self._card, self._options, self._pipeline_thread)
        self._leaving = False

    async def warm(self) -> AsyncIterator[LoadProgress]:
        """Load the model if need be, and yield the progress until it is ready or has failed."""
        if self._leaving:
            raise EngineLeaving(self._card.name)
        async for progress in self._warming.watch():
            if progress.phase is LoadPhase.FAILED:
                self._leaving = True
            yield progress

    async def generate(self, call: EngineCall) -> EngineResult:
        """Draw what ``call`` asks for; calls are served one after another.

        Raises:
            EngineLeaving: the engine is going to sleep.
            LoadFailed: the model could not be loaded.
            InvalidRequest: the parameters do not fit the live pipeline.
            GenerationFailed, OutOfMemory: the pipeline failed.
            GenerationStopped: the caller went away.
        """
        run = await self._begin(call)
        return await self._finish(run, await self._stoppable(run))

    async def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        """As `generate`, telling of the steps and the pictures of the way; the result is the last event.

        Steps that nobody has taken yet are told as one. A caller who leaves ends the run.
        """
        run = await self._begin(call)
        events = Events(asyncio.get_running_loop())
        run.on_step, run.on_preview = events.step, events.preview
        drawing = asyncio.create_task(self._stoppable(run))
        drawing.add_done_callback(lambda _: events.end())
        try:
            async for event in events:
                if isinstance(event, StepProgress):
                    yield event
                else:
                    index, image = event
                    yield Preview(index, (await self._encode_all([(image, run.call.seed or 0)], call))[0])
            yield await self._finish(run, await drawing)
        finally:
            drawing.cancel()
            await asyncio.wait([drawing])

    async def release(self) -> None:
        """Ask to be put to sleep: no new work is taken, running work ends first."""
        self._leaving = True

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `engines.scaling.ReleasePolicy` looks at."""
        return {"leaving": float(self._leaving)}

    async def _begin(self, call: EngineCall) -> Run:
        """Wait for the model and check the call against it."""
        arrived = time.monotonic()
        if self._leaving:
            raise EngineLeaving(self._card.name)
        was_ready = self._warming.latest.phase is LoadPhase.READY
        try:
            model, schema = await self._warming.result()
        except LoadFailed:
            self._leaving = True
            raise
        loaded = time.monotonic()
        self._check(call, schema)
        run = Run(model, schema, call, self._options, arrived=arrived)
        run.load_seconds = 0.0 if was_ready else loaded - arrived
        return run

    async def _finish(self, run: Run, generated: Generated) -> EngineResult:
        started = time.monotonic()
        if run.call.format is ImageFormat.GIF:
            images = await self._animate(run.call, generated)
        else:
            images = await self._encode_all(generated.images, run.call)
        run.encode_seconds = time.monotonic() - started
        return run.result(generated, images)

    def _check(self, call: EngineCall, schema: PipelineSchema) -> None:
        from engines.validation import check

        method = schema.method(call.method)
        if method is None:
            raise InvalidParameter("method", f"this model has no {call.method!r}")
        if not 1 <= call.count <= self._options.max_images:
            raise InvalidParameter("n", f"expected 1 to {self._options.max_images} images")
        check(method, call.parameters)

    async def _stoppable(self, run: Run) -> Generated:
        """Run in the pipeline's thread; when the caller goes away, stop at the next step.

        The slot is given on only when the thread has really stopped.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pipeline_thread, run)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            run.stop.set()
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()
            raise

    async def _encode_all(
        self, pictures: Sequence[tuple[Any, int]], call: EngineCall
    ) -> tuple[EncodedImage, ...]:
        loop = asyncio.get_running_loop()
        encoded = (loop.run_in_executor(self._encoders, _encode_one, *each, call) for each in pictures)
        return tuple(await asyncio.gather(*encoded))

    async def _animate(self, call: EngineCall, generated: Generated) -> tuple[EncodedImage, ...]:
        loop = asyncio.get_running_loop()
        ways = zip(generated.images, generated.frames, strict=True)
        animated = (
            loop.run_in_executor(self._encoders, _animate_one, image, seed, frames, call)
            for (image, seed), frames in ways
        )
        return tuple(await asyncio.gather(*animated))


class Run:
    """One call on its way through the pipeline's thread, with its stop flag and its clock."""

    def __init__(
        self,
        model: LoadedModel,
        schema: PipelineSchema,
        call: EngineCall,
        options: EngineOptions,
        *,
        arrived: float,
    ) -> None:
        from engines.metrics import Meter

        self.call = call
        self.stop = threading.Event()
        self.load_seconds = 0.0
        self.encode_seconds = 0.0
        self.on_step: Callable[[int, int], None] = _ignore
        self.on_preview: Callable[[int, Any], None] | None = None
        self._model = model
        self._schema = schema
        self._options = options
        self._arrived = arrived
        self._queue_seconds = 0.0
        self._meter = Meter(device=model.device)

    def __call__(self) -> Generated:
        """Runs in the pipeline's thread."""
        from engines.generation import generate

        self._queue_seconds = time.monotonic() - self._arrived - self.load_seconds
        with self._meter:
            return generate(
                self._model,
                self._schema,
                self.call,
                options=self._options,
                stop=self.stop,
                on_step=self.on_step,
                on_preview=self.on_preview,
            )

    def result(self, generated: Generated, images: tuple[EncodedImage, ...]) -> EngineResult:
        """Put the answer together."""
        metrics = self._meter.finish(
            queue_seconds=self._queue_seconds,
            load_seconds=self.load_seconds,
            inference_seconds=generated.inference_seconds,
            encode_seconds=self.encode_seconds,
            steps=generated.steps,
        )
        return EngineResult(
            images=images,
            parameters=generated.parameters,
            metrics=metrics,
            prompt_tokens=generated.prompt_tokens,
        )


def _ignore(step: int, total: int) -> None:
    """A caller who waits for the result alone is told of no steps."""


def _encode_one(image: Any, seed: int, call: EngineCall) -> EncodedImage:
    from engines.encoding import encode

    return EncodedImage(
        data=encode(image, call.format, call.compression),
        format=call.format,
        width=image.width,
        height=image.height,
        seed=seed,
    )


def _animate_one(image: Any, seed: int, frames: Sequence[Any], call: EngineCall) -> EncodedImage:
    from engines.encoding import animate

    return EncodedImage(
        data=animate([*frames, image], call.frame_milliseconds),
        format=call.format,
        width=image.width,
        height=image.height,
        seed=seed,
    )


def build_app(args: dict[str, Any]) -> serve.Application:
    """The Serve application of one model (the ``import_path`` of its deployment).

    ``args`` are `EngineArgs` as JSON.
    """
    engine_args = EngineArgs.model_validate(args)
    options = engine_args.options
    # Any: Ray types `serve.deployment` as a bare decorator.
    deployment: Any = serve.deployment(
        Engine,
        name=DEPLOYMENT,
        ray_actor_options={"num_cpus": 0, "num_gpus": _gpus(options)},
        # Several ongoing requests and one thread: with one, the engine idles 45 % between requests.
        max_ongoing_requests=8,
        max_queued_requests=options.max_queued,
        autoscaling_config={
            "min_replicas": 0,
            "initial_replicas": 0,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": 4,
            "upscale_delay_s": 0,
            "downscale_delay_s": 0,
            "downscale_to_zero_delay_s": 0,
            "metrics_interval_s": 0.2,
            "look_back_period_s": 0.5,
            "policy": {
                "policy_function": "engines.scaling:ReleasePolicy",
                "policy_kwargs": {"idle_seconds": options.idle_seconds},
            },
        },
        # The constructor never raises; what fails is an engine that dies while a restarted controller is
        # still finding its engines again. After one such failure Serve would give the model up for good.
        max_constructor_retry_count=20,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.05,
        graceful_shutdown_timeout_s=LONGEST_GENERATION_SECONDS,
        request_router_config={
            "request_router_class": "engines.presence:PresenceRouter",
            "initial_backoff_s": 0.005,
            "max_backoff_s": 0.02,
        },
    )
    application: serve.Application = deployment.bind(engine_args)
    return application


def _gpus(options: EngineOptions) -> float:
    """GPUs to reserve: as told, else a whole one where the cluster has any and the device may use it."""
    if options.num_gpus is not None:
        return options.num_gpus
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return 1.0 if options.device in ("auto", "cuda") and resources.get("GPU") else 0.0
