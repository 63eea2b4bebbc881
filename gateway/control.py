"""What the operator can ask for: deploy, undeploy, start, stop. The command line is a face of this.

Every change of the cluster or of its configuration happens under the state folder's lock.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Final, Protocol

from pydantic import ValidationError

from engines.conversion.cache import VARIABLE as CACHE_VARIABLE
from engines.conversion.cache import cache_root
from engines.pickles import fault_of, forbidden
from engines.schema import Frozen
from gateway import borrowed, cluster, deployments, membership, readiness
from gateway.cluster import Cluster
from gateway.descriptions import Description
from gateway.obtaining import obtained_card
from gateway.order import Order, carried, entry_of
from gateway.problems import ClusterFailed, NotDeployable, NotRunning, Problem
from gateway.registry import ModelEntry
from gateway.remote_order import RemoteOrder, check_order, remote_entry_of
from gateway.remotes import RemoteEntry, RemoteKey
from gateway.rollout import roll_out
from gateway.settings import Settings, from_environment
from gateway.shared_places import require_shared
from gateway.state import Deployed, StateFolder

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000


class Report(Protocol):
    """Where progress is shown."""

    def step(self, text: str) -> AbstractContextManager[None]:
        """Something that takes a while begins, and ends with the context."""

    def transfer(self, text: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Bytes are moved: the function given takes how many, and of how many."""

    def say(self, text: str) -> None:
        """A line for the operator."""


class Place(Frozen):
    """Where the service is asked to listen; ``None`` where nothing was said.

    ``cluster_host`` is the address of this machine at which others may join the cluster.
    """

    host: str | None = None
    port: int | None = None
    cluster_host: str | None = None


def place_from(environment: Mapping[str, str]) -> Place:
    """Read ``HOST``, ``PORT`` and ``CLUSTER_HOST``.

    Raises:
        Problem: the port is no port.
    """
    text = environment.get("PORT") or None
    if text is not None and not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise Problem(f"PORT={text!r} is not a port: expected a number from 1 to 65535")
    return Place(
        host=environment.get("HOST") or None,
        port=int(text) if text else None,
        cluster_host=_cluster_host(environment.get("CLUSTER_HOST") or None),
    )


def _cluster_host(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise Problem(f"CLUSTER_HOST={text!r} is no address of this machine, as in 10.0.0.1") from error
    if address.is_unspecified or text == "127.0.0.1":
        raise Problem(f"CLUSTER_HOST={text}: name the address at which the other machines reach this one")
    return text


def settings_of(environment: Mapping[str, str], before: Settings) -> Settings:
    """The settings ``before``, with what an environment says on top.

    Raises:
        Problem: a variable has a bad value.
    """
    try:
        given = from_environment(environment)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(["KANDINSKY", *(str(part).upper() for part in first["loc"])])
        raise Problem(f"bad setting {name}: {first['msg']}") from error
    return before.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


class Control:
    """The service of one state folder, or in the cluster that ``RAY_ADDRESS`` names."""

    def __init__(self, state: StateFolder, environment: Mapping[str, str], report: Report) -> None:
        self._state = state
        self._environment = environment
        self._report = report
        self._place = place_from(environment)

    def deploy(self, order: Order) -> tuple[Cluster, ModelEntry]:
        """Serve a model, starting the service if need be; return when it answers.

        Raises:
            Problem: it cannot be done, in words.
        """
        self._require_safety()
        known = self._known()
        allowed = settings_of(self._environment, known.settings).allow_pickles
        order = carried(order, known)
        card = obtained_card(order, self._report, pickles=allowed)
        if card.pickled and not allowed:
            raise NotDeployable(forbidden(f"a part of {card.name}").reason)
        if self._environment.get(CACHE_VARIABLE):
            cache = str(cache_root(self._environment))
            order = replace(order, options={"cache_folder": cache, **order.options})
        with self._changing(), self._no_empty_cluster_left():
            description = Description(card, self._state.schemas)
            target = self._ensure()
            with self._report.step(f"Reading the parameters of {card.name}"):
                schema = description.result()

            def change(deployed: Deployed) -> Deployed:
                entry = entry_of(order, card, schema, deployed)
                return deployments.with_model(deployed, entry)

            with self._report.step(f"Deploying {card.name}"):
                deployed = self._change(target, change)
        return target, next(entry for entry in deployed.models if entry.name == card.name)

    def add_remote(self, order: RemoteOrder) -> tuple[Cluster, RemoteEntry]:
        """Serve a model of another server, starting the service if need be; return when it is listed.

        Raises:
            Problem: it cannot be done, in words.
        """
        check_order(order)
        with self._changing(), self._no_empty_cluster_left():
            target = self._ensure()

            def change(deployed: Deployed) -> Deployed:
                return deployments.with_model(deployed, remote_entry_of(order, self._key_of(order), deployed))

            with self._report.step(f"Adding {order.name}"):
                deployed = self._change(target, change)
        return target, next(entry for entry in deployed.remotes if entry.name == order.name)

    def _require_safety(self) -> None:
        fault = fault_of(self._environment)
        if fault:
            raise Problem(fault)

    def _known(self) -> Deployed:
        """What is deployed, or was when the service was stopped; nothing where that cannot be told."""
        try:
            return self.running()[1]
        except Problem:
            return Deployed() if self._borrows else self._state.remembered()

    def start(self) -> tuple[Cluster, Deployed]:
        """Start the service with what it served last, if it does not run."""
        self._require_safety()
        with self._changing():
            target = self._ensure()
            with self._report.step("Starting the gateway"):
                deployed = self._change(target, lambda deployed: deployed)
        return target, deployed

    def undeploy(self, name: str) -> None:
        """Take a model out of service; the others and the gateway stay.

        Raises:
            NotRunning: there is no service.
            Problem: there is no such model.
        """
        with self._changing(), self._report.step(f"Removing {name}"):
            target, _ = self.running()
            self._change(target, lambda deployed: deployments.without_model(deployed, name))
            readiness.wait_for_absence(target, name)
            self._state.forget_key(name)

    def stop(self) -> bool:
        """End the service, and say whether there was one. In a borrowed cluster only our applications end.

        The next start brings back what was deployed.
        """
        with self._changing():
            if self._borrows:
                return self._leave_borrowed()
            found = cluster.find(self._state)
            deployed = self._deployed_if_answering(found) if found else None
            if deployed is not None:
                self._state.remember(deployed)
            with self._report.step("Stopping"):
                # What could not be read stays in Ray's store.
                return cluster.stop(self._state, forget=deployed is not None)

    def running(self) -> tuple[Cluster, Deployed]:
        """The service and what it serves.

        Raises:
            NotRunning: there is none.
        """
        target = self._borrowed() if self._borrows else cluster.find(self._state)
        if target is None:
            raise NotRunning("no service runs here; start one with: deploy")
        deployed = deployments.read(target.api.details())
        if deployed is None:
            raise NotRunning("the Ray cluster runs, and nothing is deployed in it; use: deploy")
        return target, deployed

    def is_up(self) -> bool:
        """Whether the cluster still runs."""
        return self._borrows or cluster.find(self._state) is not None

    @property
    def _borrows(self) -> bool:
        return bool(self._environment.get(borrowed.ADDRESS_VARIABLE))

    def _key_of(self, order: RemoteOrder) -> RemoteKey | None:
        """Where the gateway finds the key that an order gives.

        A gateway that runs does not see a variable that was set after it was started, so the key is
        kept for it. One in a borrowed cluster does not see this machine's files.
        """
        if order.key_file is not None:
            return RemoteKey(file=str(order.key_file.absolute()))
        if order.key_variable is None:
            return None
        key = self._environment.get(order.key_variable)
        if key and not self._borrows:
            return RemoteKey(file=str(self._state.keep_key(order.name, key)))
        return RemoteKey(variable=order.key_variable)

    def _changing(self) -> AbstractContextManager[None]:
        self._state.prepare()
        return self._state.locked(lambda: self._report.say("Another command is at work; waiting for it."))

    @contextmanager
    def _no_empty_cluster_left(self) -> Iterator[None]:
        """End a cluster that was started for nothing."""
        try:
            yield
        except BaseException:
            record = self._state.cluster()
            if record is not None and not record.serving:
                cluster.stop(self._state, forget=True)
            raise

    def _borrowed(self) -> Cluster:
        return borrowed.find(
            self._environment[borrowed.ADDRESS_VARIABLE],
            host=self._place.host or DEFAULT_HOST,
            port=self._place.port or DEFAULT_PORT,
            environment=self._environment,
        )

    def _ensure(self) -> Cluster:
        if self._borrows:
            with self._report.step("Connecting to the Ray cluster"):
                return self._borrowed()
        found = cluster.find(self._state)
        if found is not None:
            self._require_same_place(found)
            return found
        return self._start_cluster()

    def _require_same_place(self, found: Cluster) -> None:
        asked = Place(host=self._place.host or found.host, port=self._place.port or found.port)
        if asked != Place(host=found.host, port=found.port):
            raise Problem(
                f"the service already listens on {found.host}:{found.port}; "
                f"stop it first to have it on {asked.host}:{asked.port}"
            )
        wanted = self._place.cluster_host
        if wanted is not None and wanted != (found.joined_at or "").rpartition(":")[0]:
            raise Problem(
                f"other machines can join at {found.joined_at or 'no address'}; "
                f"stop the service first to have them join at {wanted}"
            )

    def _start_cluster(self) -> Cluster:
        previous = self._state.cluster()
        host = self._place.host or (previous.host if previous else DEFAULT_HOST)
        port = self._place.port or (previous.port if previous else DEFAULT_PORT)
        cluster_host = self._place.cluster_host or (previous.cluster_host if previous else None)
        if membership.is_member(self._state):
            raise Problem("this machine is a node of another one's cluster: deploy there, or leave it first")
        with self._report.step("Starting Ray"):
            started = cluster.start(
                self._state, host=host, port=port, cluster_host=cluster_host, environment=self._environment
            )
        if previous is not None and previous.serving:
            with self._report.step("Bringing back what was deployed when the service was killed"):
                self._recover(started)
        return started

    def _recover(self, started: Cluster) -> None:
        """Wait for Serve to come back: until then it looks as if nothing were deployed."""
        readiness.wait_for_applications(started, [deployments.GATEWAY_APPLICATION])
        details = started.api.details()
        options = details.http_options
        if options is not None and (options.host, options.port) != (started.host, started.port):
            # Serve keeps its address for life.
            deployed = deployments.read(details) or Deployed()
            started.api.shut_down()
            roll_out(started, Deployed(settings=deployed.settings), deployed)

    def _change(self, target: Cluster, change: Callable[[Deployed], Deployed]) -> Deployed:
        """Read what is deployed, edit it, put it back, and wait until it answers."""
        details = target.api.details()
        before = deployments.read(details)
        wanted = before
        if before is None:
            before = Deployed()
            wanted = before if target.borrowed else self._state.remembered()
        assert wanted is not None
        settings = self._settings(wanted.settings, target)
        before = before.model_copy(update={"settings": settings})
        after = deployments.with_policy(change(wanted.model_copy(update={"settings": settings})))
        for warning in require_shared(settings, target.host):
            self._report.say(warning)
        if details.proxy_location not in (None, deployments.proxy_location(settings)):
            before = self._without_serve(target, before)
        roll_out(target, before, after)
        if not target.borrowed:
            self._note_serving()
        return after

    def _without_serve(self, target: Cluster, before: Deployed) -> Deployed:
        """End Serve, which keeps for life where its proxies are; what is deployed then is nothing."""
        if target.borrowed:
            raise Problem(
                "Serve runs in this cluster, and where its proxies are cannot be changed: end it first "
                "(serve shutdown), or deploy with the number of gateways it was started for"
            )
        with self._report.step("Starting Ray Serve anew"):
            target.api.shut_down()
        return Deployed(settings=before.settings)

    def _note_serving(self) -> None:
        record = self._state.cluster()
        if record is not None and not record.serving:
            self._state.record_cluster(record.model_copy(update={"serving": True}))
        self._state.remember(None)

    def _settings(self, before: Settings, target: Cluster) -> Settings:
        """The settings that stand, with what this environment says on top."""
        after = settings_of(self._environment, before)
        if after.state_folder is None and not target.borrowed:
            return after.model_copy(update={"state_folder": str(self._state.root)})
        return after

    def _deployed_if_answering(self, found: Cluster) -> Deployed | None:
        try:
            return deployments.read(found.api.details()) or Deployed()
        except (NotRunning, ClusterFailed) as error:
            self._report.say(f"What is deployed cannot be read: {error}")
            return None

    def _leave_borrowed(self) -> bool:
        target = self._borrowed()
        details = target.api.details()
        deployed = deployments.read(details)
        if deployed is None:
            return False
        with self._report.step("Removing the applications from the Ray cluster"):
            target.api.put(deployments.compose_none(details, target))
            for entry in deployed.models:
                readiness.wait_for_absence(target, entry.name)
        return True
