"""Our client of the provider, on a raw server that gives the answers of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from service.provider.remote.client import ProviderClient
from service.provider.remote.credentials import ProviderApiKey, ProviderKeyPair
from service.provider.remote.outcomes import CreateOutcome, DeleteOutcome, LookUpOutcome
from tests.support.clock import Clock
from tests.support.raw_servers import RawServer, Script, envelope_response, raw_server

NOW = datetime(2026, 6, 10, 8, 39, 54, 151000, tzinfo=UTC)
KEY_PAIR = ProviderKeyPair("access", "its-own-characters")
CREATE_BODY = {"element_name": "Mira", "external_task_id": "sub_01", "callback_url": "http://us/cb"}
TASK_RECORD = {
    "task_id": "831922345719271433",
    "task_info": {"external_task_id": "sub_01"},
    "task_status": "submitted",
    "created_at": 1781080778802,
    "updated_at": 1781080778802,
}
CREATED = envelope_response(0, "SUCCEED", TASK_RECORD)


@asynccontextmanager
async def provider_client(
    *answers: bytes | Script,
    credentials: ProviderApiKey | ProviderKeyPair = ProviderApiKey("sk-secret"),  # noqa: B008 - frozen
    timeout: float = 30.0,  # noqa: ASYNC109 - the provider's own
    clock: Clock | None = None,
) -> AsyncIterator[tuple[ProviderClient, RawServer]]:
    """Our client, and the server that gives it these answers."""
    async with raw_server(answers) as server:
        provider = ProviderClient(server.url, credentials, timeout, clock or Clock(NOW))
        try:
            yield provider, server
        finally:
            await provider.aclose()


async def create_answer(*answers: bytes | Script, **how: Any) -> CreateOutcome:  # noqa: ANN401
    """What our client makes of these answers to a create."""
    async with provider_client(*answers, **how) as (provider, _):
        return await provider.create(CREATE_BODY)


async def look_up_answer(*answers: bytes | Script, **how: Any) -> LookUpOutcome:  # noqa: ANN401
    """What our client makes of these answers to a look-up."""
    async with provider_client(*answers, **how) as (provider, _):
        return await provider.look_up("sub_01")


async def delete_answer(*answers: bytes | Script, **how: Any) -> DeleteOutcome:  # noqa: ANN401
    """What our client makes of these answers to a delete."""
    async with provider_client(*answers, **how) as (provider, _):
        return await provider.delete("831922345719271433")
