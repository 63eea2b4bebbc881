"""An order to serve a model of another server, and the registry's entry that it makes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gateway.order import check_names
from gateway.problems import Problem
from gateway.registry import ANY, ModelEntry
from gateway.remotes import RemoteEntry, RemoteKey
from gateway.state import Deployed


@dataclass(frozen=True, kw_only=True)
class RemoteOrder:
    """What is to be served. What is not said stays as it is with a remote model of this name.

    The key lies in ``key_file``, or in the environment's ``key_variable``.
    """

    name: str
    base_url: str
    model: str
    key_variable: str | None = None
    key_file: Path | None = None
    aliases: tuple[str, ...] = ()
    timeout_seconds: float | None = None
    max_retries: int | None = None


def check_order(order: RemoteOrder) -> None:
    """Judge what can be judged without the service.

    Raises:
        Problem: what does not fit, in words.
    """
    check_names(order.name, *order.aliases)
    if order.name == ANY:
        raise Problem("'*' can be an alias and no name")
    if order.key_variable is not None and order.key_file is not None:
        raise Problem("the key lies in a variable or in a file: give one of --api-key-env, --api-key-file")
    if order.key_file is not None and RemoteKey(file=str(order.key_file)).read() is None:
        raise Problem(f"there is no key in {order.key_file}, or it cannot be read")
    _entry(order, None, None)


def remote_entry_of(order: RemoteOrder, key: RemoteKey | None, deployed: Deployed) -> RemoteEntry:
    """The entry that an order makes beside what is deployed; ``key`` is the one that was given, if any.

    Raises:
        Problem: a model with an engine here has the name.
    """
    previous = deployed.find(order.name)
    if isinstance(previous, ModelEntry):
        raise Problem(f"{order.name!r} is a model of this service's own; undeploy it, or choose another name")
    return _entry(order, key, previous)


def _entry(order: RemoteOrder, key: RemoteKey | None, previous: RemoteEntry | None) -> RemoteEntry:
    given: dict[str, object] = {"timeout_seconds": order.timeout_seconds, "max_retries": order.max_retries}
    values = {name: value for name, value in given.items() if value is not None}
    values |= {"name": order.name, "base_url": order.base_url, "model": order.model}
    if order.aliases:
        values["aliases"] = order.aliases
    before = previous.model_dump() if previous else {"created": int(time.time())}
    try:
        entry = RemoteEntry.model_validate(before | values)
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(f"bad option {first['loc'][0]}: {first['msg']}") from error
    if key is None and previous is not None and previous.base_url == entry.base_url:
        # A key is never taken along to another server.
        key = previous.key
    return entry.model_copy(update={"key": key})
