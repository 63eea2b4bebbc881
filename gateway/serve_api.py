"""Ray Serve's configuration interface: what ``serve deploy`` and ``serve status`` speak.

Source: ``ray.dashboard.modules.serve`` of Ray 2.60 (``/api/serve/applications/``, public).
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from gateway.http_json import Answer, send
from gateway.problems import ClusterFailed, DeployFailed

PATH: Final = "/api/serve/applications/"
CHANGE_SECONDS: Final = 120.0
"""How long a change may take: the first one starts Serve."""


class _Part(BaseModel):
    """A part of Serve's answer; it has more fields than are read here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class HttpOptions(_Part):
    """Where Serve's proxy listens."""

    host: str | None = None
    port: int | None = None


class DeploymentDetails(_Part):
    """A deployment of an application."""

    status: str = ""
    message: str = ""


class Application(_Part):
    """An application as Serve knows it. ``status`` and ``source`` are Serve's words."""

    status: str
    message: str = ""
    source: str = ""
    deployed_app_config: dict[str, Any] | None = None
    deployments: dict[str, DeploymentDetails] = {}


class ServeDetails(_Part):
    """What Serve runs. Without ``http_options`` it has not been started."""

    http_options: HttpOptions | None = None
    proxy_location: str | None = None
    applications: dict[str, Application] = {}


class ServeApi:
    """Serve behind a dashboard's address. ``token`` is the cluster's, where it requires one."""

    def __init__(self, dashboard: str, token: str | None) -> None:
        self.dashboard = dashboard.rstrip("/")
        self._token = token

    def details(self) -> ServeDetails:
        """What runs now.

        Raises:
            NotRunning, ClusterFailed: the cluster does not answer as it should.
        """
        answer = self._send("GET")
        if answer.status != 200:
            raise ClusterFailed(f"Ray at {self.dashboard} answered {answer.status}: {_short(answer.text)}")
        return ServeDetails.model_validate(answer.json())

    def put(self, config: dict[str, Any]) -> None:
        """Make the declared applications those of ``config`` (Serve's ``ServeDeploySchema``).

        Raises:
            DeployFailed: Serve refused it.
        """
        answer = self._send("PUT", config)
        if answer.status != 200:
            raise DeployFailed(f"Ray Serve refused the deployment ({answer.status}): {_short(answer.text)}")

    def shut_down(self) -> None:
        """End Serve with all its applications; the cluster stays."""
        answer = self._send("DELETE")
        if answer.status != 200:
            raise ClusterFailed(f"Ray Serve could not be shut down: {_short(answer.text)}")

    def _send(self, method: str, body: object = None) -> Answer:
        return send(method, self.dashboard + PATH, body=body, token=self._token, timeout=CHANGE_SECONDS)


def _short(text: str) -> str:
    """The end of a text, which is where a traceback says what was wrong."""
    return text.strip()[-1000:]
