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
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from engines.calls import EncodedImage, EngineCall, EngineOptions, EngineResult, LoadPhase, LoadProgress
from engines.card import ModelCard
from engines.errors import EngineLeaving, InvalidParameter, LoadFailed
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
        generated = await self._stoppable(run)
        images = await self._encode(run, generated)
        return run.result(generated, images)

    async def release(self) -> None:
        """Ask to be put to sleep: no new work is taken, running work ends first."""
        self._leaving = True

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `engines.scaling.ReleasePolicy` looks at."""
        return {"leaving": float(self._leaving)}

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

    async def _encode(self, run: Run, generated: Generated) -> tuple[EncodedImage, ...]:
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        encoded = await asyncio.gather(
            *(
                loop.run_in_executor(self._encoders, _encode_one, image, seed, run.call)
                for image, seed in generated.images
            )
        )
        run.encode_seconds = time.monotonic() - started
        return tuple(encoded)


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
                self._model, self._schema, self.call, options=self._options, stop=self.stop, on_step=_ignore
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
    """Progress of a running call is not published yet."""


def _encode_one(image: Any, seed: int, call: EngineCall) -> EncodedImage:
    from engines.encoding import encode

    return EncodedImage(
        data=encode(image, call.format, call.compression),
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
