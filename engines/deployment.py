"""One model's Serve application: what an engine reserves, how it scales, how it is reached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import ray
from ray import serve

from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.heartbeat import Heartbeat
from engines.marking import marked
from engines.replica import Engine, EngineArgs

DEPLOYMENT: Final = "Engine"
LONGEST_GENERATION_SECONDS: Final = 3600.0
ONGOING: Final = 8
ONGOING_OF_SEVERAL: Final = 3
"""Requests that a replica takes at a time: one drawn, one at hand, and one call that tells it something."""
SHARED_GPU: Final = 0.01
"""What a model reserves of a GPU that others share with it: a place on its node, no amount."""


class Replica(Engine):
    """An engine as Serve starts it.

    The only one of a model loads when it is told to (`warm`), which is what has started it. Where there may
    be several each begins by itself: no call reaches one that is not ready beside one that is.
    """

    def __init__(self, args: EngineArgs) -> None:
        super().__init__(args)
        self._heartbeat = Heartbeat()
        self._heartbeat.start()
        if args.options.max_replicas > 1:
            self.begin()

    async def warm(self, *, look: bool = False) -> AsyncIterator[LoadProgress]:
        """As `Engine.warm`, with what this replica has reserved."""
        async for progress in super().warm(look=look):
            if progress.phase is LoadPhase.READY:
                assigned = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
                progress = replace(progress, gpus=float(assigned.get("GPU", 0.0)))
            yield progress


def build_app(args: dict[str, Any]) -> serve.Application:
    """The Serve application of one model (the ``import_path`` of its deployment).

    ``args`` are `EngineArgs` as JSON.
    """
    engine_args = EngineArgs.model_validate(args)
    options = engine_args.options
    gpus = reserved_gpus(options, ray.nodes())  # type: ignore[no-untyped-call]
    several = options.max_replicas > 1
    # Any: Ray types `serve.deployment` as a bare decorator.
    deployment: Any = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        ray_actor_options={
            "num_cpus": 0,
            "num_gpus": gpus,
            "resources": options.resources,
            # Serve adds the application's, in which this function runs, only where there is no other.
            "runtime_env": marked(ray.get_runtime_context().runtime_env),
        },
        # Several ongoing requests and one thread: with one, the engine idles 45 % between requests. Of
        # several replicas each gets what it draws and what comes next; the rest stays free to go to any.
        max_ongoing_requests=ONGOING_OF_SEVERAL if several else ONGOING,
        max_queued_requests=options.max_queued,
        autoscaling_config={
            "min_replicas": 0,
            "initial_replicas": 0,
            "max_replicas": options.max_replicas,
            # Of two replicas the second is wanted when three requests are there, see `EngineOptions.ongoing`.
            "target_ongoing_requests": 2,
            "upscale_delay_s": 0,
            "downscale_delay_s": 0,
            "downscale_to_zero_delay_s": 0,
            "metrics_interval_s": 0.1,
            "look_back_period_s": 0.3,
            "policy": {
                "policy_function": "engines.scaling:ReleasePolicy",
                "policy_kwargs": {
                    "idle_seconds": None if options.keep_warm else options.idle_seconds,
                    "reserved": {"GPU": gpus, **options.resources},
                },
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
            # A replica of several has its next request at hand, so looking for a free one may take longer.
            "max_backoff_s": 0.1 if several else 0.02,
            # How soon it is known that a replica is loaded; with one there is nothing to choose.
            "request_routing_stats_period_s": 0.5 if several else 10.0,
        },
    )
    application: serve.Application = deployment.bind(engine_args)
    return application


def reserved_gpus(options: EngineOptions, nodes: Iterable[Mapping[str, Any]]) -> float:
    """Say how many GPUs an engine reserves on a cluster of ``nodes`` (as `ray.nodes` lists them).

    As told by ``options.num_gpus``; else none where there is no GPU or the device may not use it; else a
    whole one where Ray has to tell replicas apart: several of this model, or several GPUs in a node. On
    nodes of one GPU each the models share it by memory.
    """
    if options.num_gpus is not None:
        return options.num_gpus
    most = max((node["Resources"].get("GPU", 0.0) for node in nodes if node["Alive"]), default=0.0)
    if options.device not in ("auto", "cuda") or most == 0:
        return 0.0
    return 1.0 if most > 1 or options.max_replicas > 1 else SHARED_GPU
