"""Going from one set of deployed models to another, in an order that the gateway can follow."""

from __future__ import annotations

from gateway import deployments, readiness
from gateway.cluster import Cluster
from gateway.deployments import GATEWAY_APPLICATION, application_name
from gateway.problems import DeployFailed
from gateway.state import Deployed


def roll_out(cluster: Cluster, before: Deployed, after: Deployed) -> None:
    """Make a cluster serve ``after`` where it serves ``before``; return when it answers.

    First the engines' applications, then the gateway's list: the gateway asks Serve for a model's
    application as soon as it hears of the model.

    Raises:
        DeployFailed: an application failed. It is taken away again, and what was there stays.
    """
    added = [entry for entry in after.models if entry not in before.models]
    if added:
        names = {entry.name for entry in added}
        kept = [entry for entry in before.models if entry.name not in names]
        details = cluster.api.details()
        cluster.api.put(deployments.compose(before, details, cluster, engines=[*kept, *added]))
        try:
            applications = [application_name(name) for name in names]
            readiness.wait_for_applications(cluster, [*applications, GATEWAY_APPLICATION])
        except DeployFailed:
            cluster.api.put(deployments.compose(before, cluster.api.details(), cluster))
            raise
    cluster.api.put(deployments.compose(after, cluster.api.details(), cluster))
    readiness.wait_for_applications(cluster, [GATEWAY_APPLICATION])
    readiness.wait_for_gateway(cluster, [entry.name for entry in after.entries])
