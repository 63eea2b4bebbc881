"""What gateways on several machines must share, because another one may be asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.ports import WILDCARDS
from gateway.problems import Problem
from gateway.settings import EVERY_NODE, Settings

ANYWHERE: Final = (*WILDCARDS, "127.0.0.1", "localhost", "::1")
"""Addresses that every machine has."""
OF_A_FOLDER: Final = ("", "file", "local")


def require_shared(settings: Settings, host: str) -> tuple[str, ...]:
    """Make sure that gateways on every node find what another one keeps; return warnings.

    ``host`` is where each of them listens.

    Raises:
        Problem: what is kept would lie on one machine alone, or ``host`` is an address of one alone.
    """
    if settings.gateways != EVERY_NODE:
        return ()
    if host not in ANYWHERE:
        raise Problem(f"gateways on every node cannot all listen on {host}; set HOST=0.0.0.0")
    if settings.storage_url is None or settings.storage_url.startswith("memory:"):
        raise Problem(
            "gateways on every node need a storage that all of them reach: set KANDINSKY_STORAGE_URL to a "
            "bucket (s3://…) or to a folder that is mounted on every machine"
        )
    if settings.database_url is None or settings.database_url.startswith("sqlite"):
        raise Problem(
            "gateways on every node need one database: set KANDINSKY_DATABASE_URL to a Postgres "
            "(postgresql://…); an SQLite file is one machine's"
        )
    return tuple(_warnings(settings.storage_url))


def _warnings(storage: str) -> Iterator[str]:
    scheme = storage.partition("://")[0] if "://" in storage else ""
    if scheme in OF_A_FOLDER:
        yield f"{storage} must be the same folder on every machine, mounted from one; nothing checks that"
