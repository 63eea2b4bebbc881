"""TCP ports: which are free, and who holds one that is not."""

from __future__ import annotations

import errno
import os
import socket
from types import MappingProxyType
from typing import Final

import psutil

from gateway.problems import PortTaken, Problem

WILDCARDS: Final = MappingProxyType({"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"})
"""Addresses that mean every interface, with the one under which this machine reaches itself."""


def free_port(preferred: int | None = None) -> int:
    """``preferred`` if no program listens on it anywhere on this machine, else one the system picks."""
    if preferred is not None and is_free("", preferred) and is_free("127.0.0.1", preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there.

    Raises:
        OSError: the address is not one of this machine, or the port needs more rights.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # On Linux two sockets with the option may both bind; only one may listen.
            probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def require_free(host: str, port: int) -> None:
    """Make sure that the service can listen there.

    Raises:
        PortTaken: naming the program, where this user may know it.
        Problem: the address cannot be used at all.
    """
    try:
        if not is_free(host, port):
            raise PortTaken(host, port, holder(port))
    except OSError as error:
        reason = error.strerror or str(error)
        raise Problem(f"cannot listen on {host}:{port} (HOST, PORT): {reason}") from error


def holder(port: int) -> str | None:
    """The program that listens on a port, as ``name (pid 123)``; ``None`` where it cannot be known."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return None
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
            continue
        if connection.laddr.port == port:
            return _described(connection.pid)
    return None


def _described(pid: int) -> str:
    try:
        name = psutil.Process(pid).name()
    except psutil.Error:
        name = "a program"
    mine = " (this very process)" if pid == os.getpid() else ""
    return f"{name} (pid {pid}){mine}"


def reachable_host(host: str) -> str:
    """The address under which this machine reaches a server that listens on ``host``, ready for a URL."""
    address = WILDCARDS.get(host, host)
    return f"[{address}]" if ":" in address else address
