"""The demo's story: subscribe, submit everyone, watch until all have ended and all was heard."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from service.kit.crypto.key_formats import parse_whsec
from service.local.demo.backend import Backend, http_server
from service.local.demo.characters import all_characters
from service.local.demo.clients import CallsheetClient, SimulatorClient, http_client
from service.local.demo.progress import Json, Progress, Row
from service.local.demo.screen import Show

TIMEOUT = 40.0  # seconds until what has not happened counts as never
POLL_INTERVAL = 0.1  # seconds between looks
SIMULATOR_TIMES = {"processing_after": 0.6, "finished_after": 1.5}  # the simulator's, seconds


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the checks and the report are made from; `ledger` is the simulator's."""

    progress: Progress
    backend: Backend
    ledger: Json


async def run_demo(base_url: str, simulator_url: str, key: str, show: Show) -> DemoResult:
    """From the subscription to the last delivery; `show` is called whenever something moved."""
    backend = Backend()
    async with AsyncExitStack() as stack:
        service = CallsheetClient(await stack.enter_async_context(http_client(base_url, key)))
        provider = SimulatorClient(await stack.enter_async_context(http_client(simulator_url)))
        address = await stack.enter_async_context(http_server(backend.app()))
        board = Progress([Row(role) for role in all_characters(f"{address}/media")])
        await _prepare(board, provider)
        subscriber = await service.subscribe(f"{address}/events")
        backend.keys.append(parse_whsec(subscriber["secret"]))
        async with asyncio.TaskGroup() as group:
            group.create_task(_submit(board, service))
            await _watch_until_finished(board, backend, service, show)
        return DemoResult(board, backend, await provider.ledger())


async def _prepare(board: Progress, provider: SimulatorClient) -> None:
    await provider.change_settings(**SIMULATOR_TIMES)
    faults = [
        {"element_name": part.character.name, **part.character.fault}
        for part in board.rows
        if part.character.fault
    ]
    await provider.add_faults(faults)


async def _submit(board: Progress, service: CallsheetClient) -> None:
    for part in board.rows:
        answer = await service.create(part.character.body)
        part.answer, part.status = answer.json(), answer.status_code
    again = await service.create(board.rows[0].character.body)
    first = board.rows[0].subject_id
    board.repeat_gave_same_subject = again.status_code == 200 and again.json()["id"] == first  # noqa: PLR2004 — HTTP


async def _watch_until_finished(
    board: Progress, backend: Backend, service: CallsheetClient, show: Show
) -> None:
    """Until all have ended and every event of each was heard; or for PATIENCE."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and not _is_finished(board):
        await _update(board, backend, service)
        show(board)
        await asyncio.sleep(POLL_INTERVAL)


def _is_finished(board: Progress) -> bool:
    return all(
        part.is_finished and part.received >= part.subject.get("version", 0) for part in board.rows
    )


async def _update(board: Progress, backend: Backend, service: CallsheetClient) -> None:
    subjects = {one["id"]: one for one in await service.subjects()}
    for part in board.rows:
        part.subject = subjects.get(part.subject_id, part.subject)
        part.received = len({one.event_id for one in backend.received[part.subject_id or ""]})
        if part.is_finished and part.subject_id and len(part.events) < part.subject["version"]:
            part.events = await service.events(part.subject_id)
