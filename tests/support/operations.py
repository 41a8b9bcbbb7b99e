"""Bulk operations: how they are asked for, and done in small steps."""

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.accounts.steps import api_keys
from service.operations.steps import bulk_kinds, make_operation, run_operation
from service.subjects.domain.work import Work
from tests.support.api import Api


def take_small_steps(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let each step take at most `size` items."""
    kinds = {what: replace(kind, batch=size) for what, kind in bulk_kinds.KINDS.items()}
    for module in (run_operation, make_operation):
        monkeypatch.setattr(module, "KINDS", kinds)


async def as_operator(api: Api) -> dict[str, str]:
    """The headers of an operator of another account."""
    key = await api_keys.create(api.resources, "operations", ["operator"])
    return {"authorization": f"Bearer {key}"}


async def ask(api: Api, what: str, filter_: dict[str, Any], **body: object) -> httpx.Response:
    """Ask for an operation, as an operator."""
    return await api.http.post(
        "/v1/operations",
        json={"what": what, "filter": filter_, **body},
        headers=await as_operator(api),
    )


async def make(api: Api, what: str, filter_: dict[str, Any], **body: object) -> dict[str, Any]:
    """Make an operation that is not begun yet."""
    answer = await ask(api, what, filter_, **body)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/operations/{made['id']}"
    assert (made["state"], made["done"]) == ("running", 0)
    return made


async def make_replay(api: Api, subscriber_id: str) -> str:
    """Make a replay of all that a subscriber was sent, which is not begun yet, and in no action
    log; its id."""
    filter_ = {"subscriber_id": subscriber_id, "since": "2020-01-01T00:00:00Z", "only": "all"}
    body = {"what": "replay", "filter": filter_}
    return (await make_operation.make_operation(api.resources, None, body)).operation.id


async def dry_run(api: Api, what: str, filter_: dict[str, Any], **body: object) -> dict[str, Any]:
    """What an operation would be about."""
    answer = await ask(api, what, filter_, dry_run=True, **body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def shown_operation(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    """An operation as it stands now, as an operator sees it."""
    answer = await api.http.get(f"/v1/operations/{operation['id']}", headers=await as_operator(api))
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def run_steps(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    """Do all steps that are due of all operations; this one as it stands then."""
    await api.work(Work.OPERATE)
    return await shown_operation(api, operation)


async def run_one_step(api: Api) -> None:
    """Do the step that was due first."""
    (claimed,) = await run_operation.claim(api.resources, 1)
    await run_operation.run_step(api.resources, claimed)


def counts(operation: dict[str, Any]) -> tuple[int, int, int, int]:
    """How many an operation is about, and how many were done, skipped and failed."""
    return tuple(operation[name] for name in ("count", "done", "skipped", "failed"))
