"""The gateway's Serve application: `gateway.app` in as many replicas as are asked for.

Models and settings arrive through ``reconfigure``: a change of Serve's ``user_config`` reaches the
running replicas without a restart. One owner decides who wakes: the gateway itself where there is one,
else the `ConductorReplica`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any, Final, Literal

from ray import serve

from engines.schema import Frozen
from gateway.app import create_app
from gateway.conducting import Podium, by_handle, in_process
from gateway.conductor import Demand, Verdict
from gateway.dispatch import ServeEngine
from gateway.service import GatewayConfig, Service
from gateway.settings import EVERY_NODE, Settings
from gateway.spreading import MOST_NODES

APPLICATION = "gateway"
DEPLOYMENT = "Gateway"
CONDUCTOR: Final = "Conductor"
ON_THE_HEAD: Final = {"node:__internal_head__": 0.001}
"""Ray's own resource of the head's node: what asks for a little of it runs there."""


class GatewayArgs(Frozen):
    """The arguments of the gateway's application.

    ``gateways`` is how many there are; ``on_head`` keeps them, where they are a number, on the head's
    machine, whose state folder they use.
    """

    gateways: int | Literal["every-node"] = 1
    on_head: bool = False


class Gateway:
    """Serve's face of `Service`. ``conductor`` is the handle of the one owner, if that is another process."""

    def __init__(self, conductor: Any = None) -> None:
        logging.getLogger("gateway").setLevel(logging.INFO)
        connect = functools.cache(ServeEngine)
        exchange = in_process(connect) if conductor is None else by_handle(conductor)
        self._service = Service(connect, exchange=exchange)

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Serve after the constructor."""
        return create_app(self._service, proxied=True)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over models and settings (a `GatewayConfig` as JSON)."""
        self._service.configure(GatewayConfig.model_validate(user_config))


class ConductorReplica:
    """Serve's face of `Conductor`."""

    def __init__(self) -> None:
        logging.getLogger("gateway").setLevel(logging.INFO)
        self._podium = Podium(functools.cache(ServeEngine))

    async def exchange(self, gateway: str, demands: Mapping[str, Demand]) -> dict[str, Verdict]:
        """As `Conductor.exchange`."""
        return await self._podium.exchange(gateway, demands)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over the settings (`Settings` as JSON)."""
        self._podium.configure(Settings.model_validate(user_config))


def build_app(args: dict[str, Any]) -> Any:
    """The gateway's Serve application (the ``import_path`` of its deployment).

    ``args`` are `GatewayArgs` as JSON.
    """
    arguments = GatewayArgs.model_validate(args)
    actor: dict[str, Any] = {"num_cpus": 0}
    if arguments.on_head:
        actor["resources"] = ON_THE_HEAD
    deployment: Any = serve.deployment(
        serve.ingress()(Gateway),
        name=DEPLOYMENT,
        max_ongoing_requests=500,
        health_check_period_s=1,
        ray_actor_options=actor,
        user_config=GatewayConfig().model_dump(mode="json"),
        **_number(arguments.gateways),
    )
    if arguments.gateways == 1:
        return deployment.bind()
    conductor: Any = serve.deployment(
        ConductorReplica,
        name=CONDUCTOR,
        num_replicas=1,
        max_ongoing_requests=100,
        health_check_period_s=1,
        ray_actor_options=actor,
        user_config=Settings().model_dump(mode="json"),
    )
    return deployment.bind(conductor.bind())


def _number(gateways: int | str) -> dict[str, Any]:
    """What Serve is told of the number of replicas."""
    if gateways != EVERY_NODE:
        return {"num_replicas": gateways}
    return {
        "max_replicas_per_node": 1,
        "autoscaling_config": {
            "min_replicas": 1,
            "max_replicas": MOST_NODES,
            "upscale_delay_s": 0,
            "downscale_delay_s": 0,
            "policy": {"policy_function": "gateway.spreading:EveryNode"},
        },
    }
