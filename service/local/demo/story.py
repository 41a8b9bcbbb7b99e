"""The demo's story: subscribe, submit everyone, watch until all have ended and all was heard."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from service.kit.crypto.key_formats import parse_whsec
from service.local.demo.backend import Backend, served
from service.local.demo.board import Board, Json, Part
from service.local.demo.calls import Provider, Service, client
from service.local.demo.cast import cast
from service.local.demo.screen import Show

PATIENCE = 40.0  # seconds until what has not happened counts as never
LOOK = 0.1  # seconds between looks
PACE = {"processing_after": 0.6, "finished_after": 1.5}  # the simulator's, seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the checks and the report are made from; `ledger` is the simulator's."""

    board: Board
    backend: Backend
    ledger: Json


async def play(base_url: str, simulator_url: str, key: str, show: Show) -> Outcome:
    """From the subscription to the last delivery; `show` is called whenever something moved."""
    backend = Backend()
    async with AsyncExitStack() as stack:
        service = Service(await stack.enter_async_context(client(base_url, key)))
        provider = Provider(await stack.enter_async_context(client(simulator_url)))
        address = await stack.enter_async_context(served(backend.app()))
        board = Board([Part(role) for role in cast(f"{address}/media")])
        await _prepare(board, provider)
        subscriber = await service.subscribe(f"{address}/events")
        backend.keys.append(parse_whsec(subscriber["secret"]))
        async with asyncio.TaskGroup() as group:
            group.create_task(_submit(board, service))
            await _watch(board, backend, service, show)
        return Outcome(board, backend, await provider.ledger())


async def _prepare(board: Board, provider: Provider) -> None:
    await provider.set(**PACE)
    faults = [
        {"element_name": part.role.name, **part.role.fault}
        for part in board.parts
        if part.role.fault
    ]
    await provider.arm(faults)


async def _submit(board: Board, service: Service) -> None:
    for part in board.parts:
        answer = await service.create(part.role.body)
        part.answer, part.status = answer.json(), answer.status_code
    again = await service.create(board.parts[0].role.body)
    first = board.parts[0].subject_id
    board.repeated = again.status_code == 200 and again.json()["id"] == first  # noqa: PLR2004 — HTTP


async def _watch(board: Board, backend: Backend, service: Service, show: Show) -> None:
    """Until all have ended and every event of each was heard; or for PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not _done(board):
        await _look(board, backend, service)
        show(board)
        await asyncio.sleep(LOOK)


def _done(board: Board) -> bool:
    return all(part.ended and part.heard >= part.subject.get("version", 0) for part in board.parts)


async def _look(board: Board, backend: Backend, service: Service) -> None:
    subjects = {one["id"]: one for one in await service.subjects()}
    for part in board.parts:
        part.subject = subjects.get(part.subject_id, part.subject)
        part.heard = len({one.event_id for one in backend.heard[part.subject_id or ""]})
        if part.ended and part.subject_id and len(part.events) < part.subject["version"]:
            part.events = await service.events(part.subject_id)
