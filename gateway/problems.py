"""What can go wrong for the one who runs the service: one line and an exit code, never a traceback.

::

    Problem                 exit code 1
    ├── NotDeployable       2: the model cannot be loaded, or the option does not fit it
    ├── NotRunning          3: there is no service to ask
    ├── PortTaken
    ├── ClusterFailed       Ray did not start, or does not answer
    ├── DeployFailed        Serve refused a deployment, or it did not come up
    └── DescriptionFailed   the model's parameters could not be read
"""

from __future__ import annotations


class Problem(Exception):
    """Something the operator must know; the text says what happened and what to do."""

    exit_code = 1


class NotDeployable(Problem):
    """The model cannot be served by this version."""

    exit_code = 2


class NotRunning(Problem):
    """No service runs here."""

    exit_code = 3


class PortTaken(Problem):
    """Another program listens where the service should."""

    def __init__(self, host: str, port: int, holder: str | None) -> None:
        super().__init__(host, port, holder)
        self.host = host
        self.port = port
        self.holder = holder

    def __str__(self) -> str:
        by = f" by {self.holder}" if self.holder else " by another program"
        return f"port {self.port} on {self.host} is taken{by}; stop it, or choose another one with PORT=…"


class ClusterFailed(Problem):
    """Ray did not start, or does not answer."""


class DeployFailed(Problem):
    """Serve refused a deployment, or the deployment did not come up."""


class DescriptionFailed(Problem):
    """The parameters of a model could not be read from its pipeline."""
