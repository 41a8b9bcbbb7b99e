"""A caller of the service who can also do a worker's work."""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from service.operations.domain.audit_checks import Violation
from service.operations.steps import audit
from service.reconciliation.steps import expired_leases_and_deadlines
from service.resources import Resources
from service.subjects.domain.work import Work
from service.worker import make_work_loops
from tests.support.request_bodies import request_body


@dataclass
class Api:
    """A caller of the account acme, who can also do a worker's work."""

    resources: Resources
    http: httpx.AsyncClient  # with the key of the account

    async def create(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
        """Create a subject; `changes` are to the fields of the request."""
        answer = await self.http.post("/v1/subjects", json=request_body(**changes))
        assert answer.status_code == 202, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def read(self, subject_id: str) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.get(f"/v1/subjects/{subject_id}")).json()
        return body

    async def event_types(self, subject_id: str) -> list[str]:
        """The types of a subject's events, in sequence."""
        page = (await self.http.get(f"/v1/subjects/{subject_id}/events")).json()
        assert [event["data"]["sequence"] for event in page["data"]] == [
            number + 1 for number in range(len(page["data"]))
        ]
        return [event["type"].removeprefix("subject.") for event in page["data"]]

    async def subscribe(self, url: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = await self.http.post("/v1/subscribers", json={"url": url, **fields})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def work(self, *kinds: Work) -> None:
        """Do what is due of these kinds of work, or of all kinds, and of the sweep."""
        loops = make_work_loops(self.resources)
        await expired_leases_and_deadlines.sweep(self.resources)
        for kind in kinds or Work:
            await loops[kind].drain()
            await loops[kind].finish(30)

    async def wait_until_finished(self, subject_id: str) -> dict[str, Any]:
        """The subject, once callbacks have brought it to its end."""
        deadline = asyncio.get_running_loop().time() + 10
        while asyncio.get_running_loop().time() < deadline:
            subject = await self.read(subject_id)
            if subject["finished_at"]:
                return subject
            await asyncio.sleep(0.01)
        raise AssertionError(subject_id)

    async def violations(self) -> list[Violation]:
        return [*(await audit.run_audit(self.resources)).violations]
