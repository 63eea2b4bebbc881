"""The gateway's database: jobs, webhooks to deliver, answers to repeat, and who works on what. SQLite, or
Postgres by its URL.

Every piece of work is one transaction, in a task of its own: a caller who is cancelled leaves it to end
by itself. What the database does not do is told as `StorageFailed`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import event, insert, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from engines.errors import StorageFailed
from gateway.tables import METADATA, SCHEMA, VERSION

_logger = logging.getLogger(__name__)

FILE: Final = "gateway.sqlite3"
BUSY_SECONDS: Final = 10.0
"""How long a transaction waits for another process's."""
POOL: Final = 5
_ADVISORY_LOCK: Final = 0x6B616E64
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    # An accepted job outlives a power cut.
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}",
)
_DRIVERS: Final = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
"""What is done within one transaction."""


class Database:
    """The database at ``url``; else a file in ``folder``; else one that ends with this object.

    Nothing is opened before the first use.
    """

    def __init__(self, url: str | None = None, *, folder: Path | None = None) -> None:
        self._file = None if url else (folder or _temporary(self)) / FILE
        self._url = database_url(url) if url else URL.create("sqlite+aiosqlite", database=str(self._file))
        self._engine: AsyncEngine | None = None
        self._prepared = False
        self._lite = self._url.get_backend_name() == "sqlite"
        self._preparing = asyncio.Lock()
        # SQLite has one writer: those of this process wait for each other here, without polling.
        self._writing = asyncio.Lock() if self._lite else nullcontext()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def used(self) -> bool:
        """Whether this object has opened it."""
        return self._engine is not None

    @property
    def exists(self) -> bool:
        """Whether there can be something in it that an earlier gateway has left."""
        return self._file is None or self._file.exists()

    async def read(self, work: Work[T]) -> T:
        """Look something up.

        Raises:
            StorageFailed
        """
        return await self._shielded("read", work)

    async def write(self, work: Work[T]) -> T:
        """Change something, wholly or not at all.

        Raises:
            StorageFailed
        """
        return await self._shielded("written", work)

    async def close(self) -> None:
        """Let what is under way end, and close the connections."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._engine is not None:
            await self._engine.dispose()

    async def _shielded(self, doing: str, work: Work[T]) -> T:
        task = asyncio.create_task(self._transaction(doing, work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; a caller who has gone has not

    async def _transaction(self, doing: str, work: Work[T]) -> T:
        try:
            engine = await self._ready()
            if doing == "read":
                async with engine.connect() as connection:
                    return await work(connection)
            async with self._writing, engine.connect() as connection:
                await self._begin(connection)
                found = await work(connection)
                await connection.commit()
                return found
        except (SQLAlchemyError, OSError) as error:
            _logger.error("the database cannot be %s: %s: %s", doing, type(error).__name__, error)
            raise StorageFailed(doing, _reason(error)) from error

    async def _ready(self) -> AsyncEngine:
        async with self._preparing:
            if self._engine is None:
                self._engine = self._made()
            if not self._prepared:
                await self._prepare(self._engine)
                self._prepared = True
            return self._engine

    def _made(self) -> AsyncEngine:
        if not self._lite:
            # A connection that died while it waited is replaced before it is used.
            return create_async_engine(self._url, pool_size=POOL, pool_pre_ping=True, hide_parameters=True)
        if self._file is not None:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A connection for each transaction: opening a file is cheap, and none stays behind.
        engine = create_async_engine(self._url, poolclass=NullPool, hide_parameters=True)
        event.listen(engine.sync_engine, "connect", _connected)
        return engine

    async def _begin(self, connection: AsyncConnection) -> None:
        if self._lite:
            # At once as a writer: one that becomes it later fails where another has written meanwhile.
            await connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def _prepare(self, engine: AsyncEngine) -> None:
        """Make the tables that are not there.

        Raises:
            StorageFailed: they are of another version.
        """
        async with self._writing, engine.connect() as connection:
            await self._begin(connection)
            if not self._lite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            await connection.run_sync(lambda sync: SCHEMA.create(sync, checkfirst=True))
            version = (await connection.execute(select(SCHEMA.c.version))).scalar_one_or_none()
            if version is None:
                await connection.execute(insert(SCHEMA).values(version=VERSION))
            elif version != VERSION:
                reason = f"its tables are of version {version}, and this gateway's of version {VERSION}"
                raise StorageFailed("read", reason)
            await connection.run_sync(METADATA.create_all)
            await connection.commit()


def database_url(url: str) -> URL:
    """A database's URL with the driver that is used here.

    Raises:
        ValueError: it is none of SQLite's or Postgres'.
    """
    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise ValueError("expected an address like postgresql://user:password@host/name") from error
    driver = _DRIVERS.get(parsed.drivername.partition("+")[0])
    if driver is None:
        raise ValueError("expected an address that starts with postgresql:// or sqlite:///")
    return parsed.set(drivername=driver)


def _connected(connection: Any, _: object) -> None:
    # Transactions begin where we say so, not where the driver guesses.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _temporary(owner: Database) -> Path:
    folder = tempfile.mkdtemp(prefix="kandinsky-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _reason(error: Exception) -> str:
    """Words for a client: SQLite's own say no more than what is wrong, a server's can hold its address."""
    cause = getattr(error, "orig", None) or error
    while cause.__cause__ is not None and not isinstance(cause, sqlite3.Error):
        cause = cause.__cause__
    if isinstance(cause, sqlite3.Error):
        return str(cause)
    number = cause.errno if isinstance(cause, OSError) else None
    return os.strerror(number) if number is not None and number > 0 else type(cause).__name__
