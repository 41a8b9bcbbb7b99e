"""A client of the provider, the server it talks to, and one good create between them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from service.provider.remote.client import Provider
from service.provider.remote.credentials import ApiKey, KeyPair
from service.provider.remote.outcomes import CreateAnswer, LookUpAnswer
from tests.support.raw_server import Script, Wire, envelope, wire

NOW = datetime(2026, 6, 10, 8, 39, 54, 151000, tzinfo=UTC)
PAIR = KeyPair("access", "its-own-characters")
BODY = {"element_name": "Mira", "external_task_id": "sub_01", "callback_url": "http://us/cb"}
RECORD = {
    "task_id": "831922345719271433",
    "task_info": {"external_task_id": "sub_01"},
    "task_status": "submitted",
    "created_at": 1781080778802,
    "updated_at": 1781080778802,
}
CREATED = envelope(0, "SUCCEED", RECORD)
PATH = "/v1/general/advanced-custom-elements"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def talking(
    *answers: bytes | Script,
    credentials: ApiKey | KeyPair = ApiKey("sk-secret"),  # noqa: B008 - frozen
    timeout: float = 30.0,  # noqa: ASYNC109 - the provider's own
    clock: Clock | None = None,
) -> AsyncIterator[tuple[Provider, Wire]]:
    async with wire(answers) as server:
        provider = Provider(server.url, credentials, timeout, clock or Clock())
        try:
            yield provider, server
        finally:
            await provider.aclose()


async def created(*answers: bytes | Script, **how: Any) -> CreateAnswer:  # noqa: ANN401
    async with talking(*answers, **how) as (provider, _):
        return await provider.create(BODY)


async def looked_up(*answers: bytes | Script, **how: Any) -> LookUpAnswer:  # noqa: ANN401
    async with talking(*answers, **how) as (provider, _):
        return await provider.look_up("sub_01")
