"""The calls the demo makes: the public contract, and the simulator's own paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]


def http_client(address: str, key: str = "") -> httpx.AsyncClient:
    """For one server on this machine."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=30, trust_env=False)


@dataclass(frozen=True, slots=True)
class CallsheetClient:
    """Callsheet, as any caller sees it."""

    http: httpx.AsyncClient

    async def subscribe(self, url: str) -> Json:
        """A subscriber to everything; its `secret` is in this answer alone."""
        answer = await self.http.post("/v1/subscribers", json={"url": url})
        return _json_of(answer)

    async def create(self, body: Mapping[str, object]) -> httpx.Response:
        """Whatever the answer is."""
        return await self.http.post("/v1/subjects", json=body)

    async def subjects(self) -> list[Json]:
        """All there are; the demo has less than one page."""
        answer = await self.http.get("/v1/subjects", params={"limit": 200})
        data: list[Json] = _json_of(answer)["data"]
        return data

    async def events(self, subject_id: str) -> list[Json]:
        """What happened to one subject, the oldest first."""
        answer = await self.http.get(f"/v1/subjects/{subject_id}/events")
        data: list[Json] = _json_of(answer)["data"]
        return data


@dataclass(frozen=True, slots=True)
class SimulatorClient:
    """The simulator, behind the stage."""

    http: httpx.AsyncClient

    async def change_settings(self, **settings: object) -> None:
        """How fast tasks go, and the like."""
        _json_of(await self.http.post("/_simulator/settings", json=settings))

    async def add_faults(self, faults: list[Json]) -> None:
        """What goes wrong on purpose."""
        (await self.http.post("/_simulator/faults", json=faults)).raise_for_status()

    async def ledger(self) -> Json:
        """What it saw: creates, look-ups, callbacks."""
        return _json_of(await self.http.get("/_simulator/ledger"))


def _json_of(answer: httpx.Response) -> Json:
    answer.raise_for_status()
    body: Json = answer.json()
    return body
