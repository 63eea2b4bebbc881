"""The state folder: what must outlive a command.

::

    cluster.json        the Ray cluster that was started here (`ClusterRecord`)
    node.json           this machine as a node of another machine's cluster (`NodeRecord`)
    auth_token          its token, readable by the owner alone
    gcs/                Ray's own store: after everything was killed, the applications come back
    gateway.sqlite3     jobs, webhooks, answers to repeat, unless a database is set
    deployments.json    what was deployed when the service was stopped on purpose
    keys/               of other servers whose models are served, readable by the owner alone
    schemas/ models/    what was read from models: caches
    logs/               of ``ray start``
    lock                held while the cluster or its configuration changes
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from engines.schema import Frozen
from gateway.problems import Problem
from gateway.registry import Entry, ModelEntry
from gateway.remotes import RemoteEntry
from gateway.settings import Settings

HOME_VARIABLE: Final = "KANDINSKY_HOME"


class ProcessId(Frozen):
    """A process for good: numbers are used again, the time of birth (Unix seconds) tells them apart."""

    pid: int
    created: float


class ClusterRecord(Frozen):
    """A Ray cluster started from this state folder, and where its service listens.

    ``session`` is the Unix session that all its processes share; ``head`` are those without which
    it is broken. ``serving``: something was deployed in it, so Ray's store has it after a crash.
    ``cluster_host`` is the address at which other machines join, ``None`` where none can.
    """

    session: int
    head: tuple[ProcessId, ...]
    dashboard: str
    temporary: str
    host: str
    port: int
    gcs_port: int = 6379
    cluster_host: str | None = None
    serving: bool = False


class NodeRecord(Frozen):
    """This machine as a node of the cluster at ``address`` (host and port of its head).

    ``session`` is the Unix session that all its processes share, ``raylet`` the one without which it is
    none, ``node_id`` Ray's name of it.
    """

    address: str
    session: int
    raylet: ProcessId
    node_id: str
    temporary: str


class Deployed(Frozen):
    """What the service serves: the models, those of other servers, and the settings of the gateway."""

    models: tuple[ModelEntry, ...] = ()
    remotes: tuple[RemoteEntry, ...] = ()
    settings: Settings = Settings()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every model, wherever it is."""
        return (*self.models, *self.remotes)

    def find(self, name: str) -> Entry | None:
        """The model of this name."""
        return next((entry for entry in self.entries if entry.name == name), None)


def state_root(environment: Mapping[str, str]) -> Path:
    """The state folder that the environment asks for."""
    if given := environment.get(HOME_VARIABLE):
        return Path(given).expanduser().absolute()
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "kandinsky-gateway"


class StateFolder:
    """The files of the state folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gcs = root / "gcs"
        self.schemas = root / "schemas"
        self.token_file = root / "auth_token"
        self.start_log = root / "logs" / "ray_start.log"
        self.keys = root / "keys"
        self._cluster = root / "cluster.json"
        self._node = root / "node.json"
        self._remembered = root / "deployments.json"

    @property
    def temporary(self) -> Path:
        """Ray's folder of sockets and logs: short, because a socket's path may have 107 bytes at most."""
        word = hashlib.sha256(str(self.root).encode()).hexdigest()[:8]
        return Path("/tmp") / f"kandinsky-{os.getuid()}-{word}"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            Problem: one cannot be made.
        """
        try:
            for folder in (self.root, self.start_log.parent, self.schemas, self.keys):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            hint = f"set {HOME_VARIABLE} to a folder that can be written"
            raise Problem(f"cannot make {error.filename}: {reason}; {hint}") from error

    def renew_temporary(self) -> None:
        """Make Ray's folder anew, empty.

        Raises:
            Problem: another user's is in the way.
        """
        shutil.rmtree(self.temporary, ignore_errors=True)
        try:
            # Not with exist_ok: /tmp is everybody's, and a folder found there could be a trap.
            self.temporary.mkdir(mode=0o700)
        except OSError as error:
            raise Problem(f"cannot make {self.temporary}: {error.strerror or error}") from error

    def token(self) -> str:
        """The cluster's token; made on first use."""
        try:
            return self.token_file.read_text()
        except FileNotFoundError:
            # The format that Ray's own generator uses: 64 hexadecimal digits.
            write_private(self.token_file, secrets.token_hex(32).encode())
            return self.token_file.read_text()

    def keep_key(self, model: str, key: str) -> Path:
        """Keep the key of another server, and say where."""
        file = self.keys / model
        write_private(file, key.encode())
        return file

    def forget_key(self, model: str) -> None:
        """Remove the key that was kept for a model, if there is one."""
        (self.keys / model).unlink(missing_ok=True)

    def cluster(self) -> ClusterRecord | None:
        """The cluster that was started last and not stopped, running or not."""
        try:
            return ClusterRecord.model_validate_json(self._cluster.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def record_cluster(self, record: ClusterRecord | None) -> None:
        """Note a cluster, or that there is none."""
        if record is None:
            self._cluster.unlink(missing_ok=True)
        else:
            write_private(self._cluster, record.model_dump_json().encode())

    def node(self) -> NodeRecord | None:
        """What this machine joined last and has not left, whether it still runs or not."""
        try:
            return NodeRecord.model_validate_json(self._node.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def record_node(self, record: NodeRecord | None) -> None:
        """Note that this machine is a node, or that it is none."""
        if record is None:
            self._node.unlink(missing_ok=True)
        else:
            write_private(self._node, record.model_dump_json().encode())

    def remembered(self) -> Deployed:
        """What was deployed when the service was last stopped on purpose.

        Raises:
            Problem: the file cannot be read; it is left as it is.
        """
        try:
            return Deployed.model_validate_json(self._remembered.read_bytes())
        except FileNotFoundError:
            return Deployed()
        except ValidationError as error:
            raise Problem(f"{self._remembered} is not what this version writes; remove it") from error

    def remember(self, deployed: Deployed | None) -> None:
        """Note what is deployed, for the next start, or forget it."""
        if deployed is None:
            self._remembered.unlink(missing_ok=True)
        else:
            write_private(self._remembered, deployed.model_dump_json().encode())

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep other commands out; ``waiting`` is called when another one is inside."""
        with (self.root / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    # mkstemp makes it 0600.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
