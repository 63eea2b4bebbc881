"""The gateway as a Ray Serve deployment: the application of `gateway.app` in one replica.

Models and settings arrive through ``reconfigure``: a change of Serve's ``user_config`` reaches the
running replica without a restart. One replica owns the decision who wakes.
"""

from __future__ import annotations

import logging
from typing import Any

from ray import serve

from gateway.app import create_app
from gateway.dispatch import ServeEngine
from gateway.service import GatewayConfig, Service

APPLICATION = "gateway"
DEPLOYMENT = "Gateway"


class Gateway:
    """Serve's face of `Service`."""

    def __init__(self) -> None:
        logging.getLogger("gateway").setLevel(logging.INFO)
        self._service = Service(ServeEngine)

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Serve after the constructor."""
        return create_app(self._service, proxied=True)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over models and settings (a `GatewayConfig` as JSON)."""
        self._service.configure(GatewayConfig.model_validate(user_config))


def build_app(_: dict[str, Any]) -> Any:
    """The gateway's Serve application (the ``import_path`` of its deployment); its arguments are empty."""
    deployment: Any = serve.deployment(
        serve.ingress()(Gateway),
        name=DEPLOYMENT,
        num_replicas=1,
        max_ongoing_requests=500,
        health_check_period_s=1,
        ray_actor_options={"num_cpus": 0},
        user_config=GatewayConfig().model_dump(mode="json"),
    )
    return deployment.bind()
