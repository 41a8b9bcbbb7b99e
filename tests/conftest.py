"""Fixtures: real Postgres, Valkey and NATS servers for the session, a database for each test."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace

import asyncpg
import httpx
import pytest
import structlog
from arq.connections import ArqRedis, RedisSettings, create_pool
from structlog.typing import EventDict

from service.accounts.domain.scopes import DEFAULT_SCOPES, SCOPES
from service.accounts.steps import api_keys
from service.accounts.store import api_keys as api_key_store
from service.app import build
from service.kit.database.migrate import migrate
from service.kit.http.connection_limits import BoundedHttpProtocol
from service.kit.request_id import add_request_id
from service.local.nats import nats
from service.local.postgres import postgres
from service.local.server import Server
from service.local.valkey import valkey
from service.resources import Resources
from service.settings import Settings, read_settings
from service.wiring import open_resources
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.http_server import http_server
from tests.support.installation import AT_HOME, NEW_ID, PUBLIC_URL, look, move
from tests.support.simulator import FINISH_AT_ONCE, SimulatorClient, simulator
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

TEMPLATE = "callsheet_template"
SECRET_KEY = "c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seSwgMzIgYnk="
WEBHOOK_SECRET = "whsec_" + "dGVzdCBzZWNyZXQgZm9yIHRlc3RzIG9ubHk="
_numbers = itertools.count(1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[EventDict]]:
    """The test's log lines. Faults of ours are caught where they happen and only logged, so one
    among them fails the test; a test that brings one about takes it out."""
    lines: list[EventDict] = []

    def keep(_logger: object, _method: str, line: EventDict) -> EventDict:
        lines.append(dict(line))
        return line

    rendered = structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[add_request_id, structlog.processors.format_exc_info, keep, rendered]
    )
    yield lines
    structlog.reset_defaults()
    faults = [line for line in lines if line.get("action") == "fault"]
    assert not faults, "\n".join(str(line.get("exception", line)) for line in faults)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Postgres with the migrated template database in it."""
    folder = tmp_path_factory.mktemp("postgres")
    with postgres(folder, durable=False, keep=False) as server:
        asyncio.run(execute(server.url, f"CREATE DATABASE {TEMPLATE}"))
        migrate(database(server.url, TEMPLATE))
        asyncio.run(execute(database(server.url, TEMPLATE), AT_HOME))
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def database_url(postgres_server: Server) -> AsyncIterator[str]:
    """The URL of a copy of the template database, dropped after the test."""
    name = f"callsheet_{next(_numbers)}"
    await execute(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    url = database(postgres_server.url, name)
    await execute(url, NEW_ID)  # else Redis would have the moments of other tests' databases
    yield url
    await execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")


def database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return f"{url.rpartition('/')[0]}/{name}"


async def execute(url: str, statement: str) -> None:
    """Execute a statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def provider() -> AsyncIterator[SimulatorClient]:
    """A client of the provider simulator, whose tasks end at once."""
    async with simulator(FINISH_AT_ONCE, webhook_secret=WEBHOOK_SECRET) as remote:
        yield remote


@pytest.fixture
async def subscriber() -> AsyncIterator[WebhookReceiver]:
    """A webhook receiver that answers 200."""
    async with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def environ(database_url: str, valkey_server: Server, provider: SimulatorClient) -> dict[str, str]:
    """The environment variables of the settings."""
    return {
        "CALLSHEET_DATABASE_URL": database_url,
        "CALLSHEET_REDIS_URL": valkey_server.url,
        "CALLSHEET_QUEUE_NAME": database_url.rpartition("/")[2],
        "CALLSHEET_PUBLIC_URL": PUBLIC_URL,
        "CALLSHEET_SECRET_KEY": SECRET_KEY,
        "CALLSHEET_PROVIDER_URL": str(provider.http.base_url),
        "CALLSHEET_PROVIDER_API_KEY": "a-provider-key",
        "CALLSHEET_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "CALLSHEET_ALLOWED_PRIVATE_TARGETS": "127.0.0.0/8",
        "CALLSHEET_INNER_PORT": "",
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return read_settings(environ)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def resources(settings: Settings, clock: Clock) -> AsyncIterator[Resources]:
    """Everything real, but a clock that the test moves, and random numbers that are all a half."""
    async with open_resources(settings) as opened:
        look(opened)
        yield replace(opened, clock=clock, random=lambda: 0.5)


@pytest.fixture
async def account(resources: Resources) -> str:
    """The id of an account with a key."""
    await api_keys.create(resources, "acme", SCOPES)
    async with resources.database.transaction() as tx:
        found = await api_key_store.account_id_by_name(tx, "acme")
    assert found is not None
    return found


@pytest.fixture
def scopes() -> Sequence[str]:
    """The scopes of the caller's key: those of a key by default. Operators' tests override it."""
    return DEFAULT_SCOPES


@pytest.fixture
async def api(resources: Resources, scopes: Sequence[str]) -> AsyncIterator["Api"]:
    """A caller of the web application, which the provider reaches at its callback URLs."""
    app = build(resources)
    async with http_server(app, BoundedHttpProtocol) as address:
        reachable = replace(resources, settings=replace(resources.settings, public_url=address))
        app.state.resources = reachable
        await move(reachable, address)
        key = await api_keys.create(reachable, "acme", scopes)
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(
            base_url=address, headers=headers, trust_env=False, timeout=30
        ) as http:
            yield Api(reachable, http)


@pytest.fixture
async def redis(settings: Settings, valkey_server: Server) -> AsyncIterator[ArqRedis]:
    """The Redis pool of another back end, with arq's own defaults."""
    pool = await create_pool(
        RedisSettings.from_dsn(valkey_server.url), default_queue_name=settings.queue_name
    )
    yield pool
    await pool.aclose()
