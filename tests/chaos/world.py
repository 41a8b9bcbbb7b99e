"""The whole service in processes of its own, a caller, and a look behind the provider's curtain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from service.local.stack import Stack, stack
from tests.make import a_request

LEASE = 3  # seconds: what a dead worker held is taken up after this
QUICK = {
    "CALLSHEET_LEASE": str(LEASE),
    "CALLSHEET_POLL_AFTER": "1",
    "CALLSHEET_ABSENCE_GRACE": "1",
    "CALLSHEET_SWEEP": "0.2",
}
PATIENCE = 40.0  # seconds until something must have come about


@dataclass
class World:
    """Bound to one running stack."""

    stack: Stack
    http: httpx.AsyncClient

    @classmethod
    @asynccontextmanager
    async def of(cls, running: Stack) -> AsyncIterator[Self]:
        key = running.make_key("acme")
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(
            base_url=running.base_url, headers=headers, trust_env=False, timeout=30
        ) as http:
            yield cls(running, http)

    async def create(self, name: str = "Ada", **changes: object) -> str:
        """The id of an accepted subject."""
        answer = await self.http.post("/v1/subjects", json=a_request(name, **changes))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def read(self, subject_id: str) -> dict[str, Any]:
        read: dict[str, Any] = (await self.http.get(f"/v1/subjects/{subject_id}")).json()
        return read

    async def ended(self, subject_id: str) -> dict[str, Any]:
        """The subject, once it has ended."""
        found: dict[str, Any] = {}

        async def has_ended() -> bool:
            nonlocal found
            found = await self.read(subject_id)
            return bool(found["finished_at"])

        await until(has_ended)
        return found

    async def fault(self, **rule: object) -> None:
        answer = await self.http.post(f"{self.stack.simulator_url}/_simulator/faults", json=rule)
        assert answer.status_code == 200, answer.text

    async def creates(self, subject_id: str) -> list[str]:
        """What became of each create call that the provider received for a subject."""
        answer = await self.http.get(
            f"{self.stack.simulator_url}/_simulator/ledger",
            params={"external_task_id": subject_id},
        )
        return [one["outcome"] for one in answer.json()["creates"]]

    async def received(self, subject_id: str) -> None:
        """Wait until the provider has received the create call."""

        async def has_received() -> bool:
            return bool(await self.creates(subject_id))

        await until(has_received)

    def violations(self) -> str:
        return self.stack.call("audit").strip()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait until it holds; fail if it never does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        assert loop.time() < deadline
        await asyncio.sleep(0.02)


@contextmanager
def quick_stack(folder: Path, **settings: str) -> Iterator[Stack]:
    """Everything running, with short leases; nothing of it is left at the end."""
    given = QUICK | {f"CALLSHEET_{name.upper()}": value for name, value in settings.items()}
    with stack(folder, given, durable=False, keep=False) as running:
        yield running
