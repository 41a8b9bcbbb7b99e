"""Runs the demo: subscribe, create all subjects, watch until all events are received."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from service.kit.crypto.key_formats import parse_whsec
from service.local.demo.backend import Backend, http_server
from service.local.demo.characters import all_characters
from service.local.demo.clients import (
    CallsheetClient,
    QueueClient,
    SimulatorClient,
    http_client,
    queue_client,
)
from service.local.demo.progress import Json, Progress, Row
from service.local.demo.screen import Show
from service.local.stack import Stack

ACCOUNT = "demo"  # the name of the account
TIMEOUT = 40.0  # seconds after which subjects that have not ended are given up
POLL_INTERVAL = 0.1  # seconds
SIMULATOR_TIMES = {"processing_after": 0.6, "finished_after": 1.5}  # seconds from creation


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the checks and the report are made from."""

    progress: Progress  # of every character, as the API showed it
    backend: Backend  # with the deliveries that it received
    ledger: Json  # the simulator's: every create, look-up and callback


async def run_demo(running: Stack, show: Show) -> DemoResult:
    """Run from the subscription to the last delivery; `show` is called after each poll."""
    backend, key, redis_url = (
        Backend(),
        running.make_key(ACCOUNT),
        running.env["CALLSHEET_REDIS_URL"],
    )
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_client(running.base_url, key))
        simulator_http = await stack.enter_async_context(http_client(running.simulator_url))
        service, provider = CallsheetClient(http), SimulatorClient(simulator_http)
        queue = await stack.enter_async_context(queue_client(redis_url, ACCOUNT))
        address = await stack.enter_async_context(http_server(backend.app()))
        progress = Progress([Row(character) for character in all_characters(f"{address}/media")])
        await _prepare(progress, provider)
        subscriber = await service.subscribe(f"{address}/events")
        backend.keys.append(parse_whsec(subscriber["secret"]))
        async with asyncio.TaskGroup() as group:
            group.create_task(_submit(progress, service, queue))
            await _watch_until_finished(progress, backend, service, show)
        return DemoResult(progress, backend, await provider.ledger())


async def _prepare(progress: Progress, provider: SimulatorClient) -> None:
    await provider.change_settings(**SIMULATOR_TIMES)
    faults = [
        {"element_name": row.character.name, **row.character.fault}
        for row in progress.rows
        if row.character.fault
    ]
    await provider.add_faults(faults)


async def _submit(progress: Progress, service: CallsheetClient, queue: QueueClient) -> None:
    for row in progress.rows:
        if row.character.is_job:
            result = await queue.create(row.character.body)
            row.answer, row.status = (
                result.get("subject", result),
                202 if "subject" in result else 422,
            )
        else:
            answer = await service.create(row.character.body)
            row.answer, row.status = answer.json(), answer.status_code
    again = await service.create(progress.rows[0].character.body)
    first = progress.rows[0].subject_id
    progress.repeat_gave_same_subject = again.status_code == 200 and again.json()["id"] == first  # noqa: PLR2004 — HTTP


async def _watch_until_finished(
    progress: Progress, backend: Backend, service: CallsheetClient, show: Show
) -> None:
    """Poll until all have ended and every event was received, TIMEOUT at most."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and not _is_finished(progress):
        await _update(progress, backend, service)
        show(progress)
        await asyncio.sleep(POLL_INTERVAL)


def _is_finished(progress: Progress) -> bool:
    return all(
        row.is_finished and row.received >= row.subject.get("version", 0) for row in progress.rows
    )


async def _update(progress: Progress, backend: Backend, service: CallsheetClient) -> None:
    subjects = {subject["id"]: subject for subject in await service.subjects()}
    for row in progress.rows:
        row.subject = subjects.get(row.subject_id, row.subject)
        row.received = len({event.event_id for event in backend.received[row.subject_id or ""]})
        if row.is_finished and row.subject_id and len(row.events) < row.subject["version"]:
            row.events = await service.events(row.subject_id)
