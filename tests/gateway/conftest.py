"""What the gateway's tests share: a gateway in this process with the demo model behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from engines.detection import demo_card
from gateway.app import create_app
from gateway.database import Database
from gateway.service import GatewayConfig, Service
from gateway.tables import METADATA
from tests.gateway import in_process
from tests.gateway.postgres import postgres


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@cache
def demo_config() -> GatewayConfig:
    """The demo model under its own name, as ``dall-e-3``, and as the default."""
    return in_process.config(demo_card(), demo=("dall-e-3", "*"))


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = in_process.service(demo_config())
    async with in_process.closing(made):
        yield made


@pytest.fixture
def app(service: Service) -> FastAPI:
    return create_app(service)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as made:
        yield made


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A Postgres server, where one is installed."""
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        made = Database(folder=tmp_path)
    else:
        made = Database(request.getfixturevalue("postgres_url"))
    yield made
    await made.write(lambda c: c.run_sync(METADATA.drop_all))
    await made.close()
