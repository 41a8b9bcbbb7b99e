"""The provider's calls: create, query one, list (rules P2 to P4)."""

import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.local.simulator import answers, auth, codes, records
from service.local.simulator.codes import Refusal
from service.local.simulator.faults import NONE, Fault
from service.local.simulator.tasks import Task
from service.local.simulator.world import World

MAX_BODY = 64 << 20  # bytes; four images of 10 MB are 54 MB as Base64
PAGES, PAGE_SIZES, PAGE_SIZE = range(1, 1001), range(1, 501), 30  # rule P4


async def create(request: Request) -> Response:
    """POST: a new task."""
    world: World = request.app.state.world
    body: dict[str, Any] = {}
    fault = NONE
    try:
        _enter(world, request)
        body = await _body(request)
        fault = world.faults.take("create", body)
        _turn_away(fault, unless=fault.accepts)
        task, line = world.create(body, fault)
    except Refusal as refused:
        _note(world, body, refused, fault, None)
        return await _refused(refused, fault)
    _note(world, body, None, fault, task.id)
    content = codes.envelope(records.created(task))
    for _ in range(fault.before_answer if task.callback_url else 0):
        await line.tried.acquire()
    if fault.code is not None:
        return await _refused(Refusal(fault.code, fault.message), fault)
    return await answers.sent(fault, 200, content)


async def query(request: Request) -> Response:
    """GET: one task, by the provider's id or by the caller's."""
    world: World = request.app.state.world
    name = request.path_params["name"]
    task = world.book.find(name)
    external = task.external_task_id if task else name
    fault = NONE
    try:
        _enter(world, request)
        fault = world.faults.take(
            "query", {**(task.request if task else {}), "external_task_id": external}
        )
        _turn_away(fault, unless=fault.code is None)
        task = _known(task, name)
    except Refusal as refused:
        _looked_up(world, "refused", external, fault, code=refused.code)
        return await _refused(refused, fault)
    _looked_up(world, "found", external, fault, task_id=task.id, status=records.word(task))
    return await answers.sent(fault, 200, codes.envelope(records.older(task)))


async def listed(request: Request) -> Response:
    """GET: the caller's tasks, the newest first."""
    world: World = request.app.state.world
    fault = NONE
    try:
        _enter(world, request)
        fault = world.faults.take("list", {})
        _turn_away(fault, unless=fault.code is None)
        number = _number(request, "pageNum", PAGES, 1)
        size = _number(request, "pageSize", PAGE_SIZES, PAGE_SIZE)
    except Refusal as refused:
        return await _refused(refused, fault)
    page = [records.older(task) for task in world.book.page(number, size)]
    return await answers.sent(fault, 200, codes.envelope(page))


async def unknown(request: Request, error: Exception) -> Response:
    """No such path (1203), or not with that method (1202)."""
    code = 1202 if getattr(error, "status_code", 404) == 405 else 1203  # noqa: PLR2004 — HTTP
    return await _refused(Refusal(code, f"{request.method} {request.url.path}"), NONE)


def _enter(world: World, request: Request) -> None:
    auth.check(request.headers.get("authorization"), world.options, time.time())
    world.admit()


async def _body(request: Request) -> dict[str, Any]:
    gathered = bytearray()
    async for chunk in request.stream():
        gathered += chunk
        if len(gathered) > MAX_BODY:
            raise Refusal(1201, "the body is too large")
    try:
        body = orjson.loads(gathered)
    except orjson.JSONDecodeError:
        raise Refusal(1200, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refusal(1200, "the body is not a JSON object")
    return body


def _number(request: Request, name: str, allowed: range, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) in allowed):  # noqa: PLR2004 — digits of the largest
        raise Refusal(1201, f"{name} must be {allowed[0]} to {allowed[-1]}")
    return int(text)


def _turn_away(fault: Fault, *, unless: bool) -> None:
    """Refusal with the fault's code; 0, which nobody gets to see, if it only drops."""
    if not unless:
        raise Refusal(fault.code or 0, fault.message)


def _known(task: Task | None, name: str) -> Task:
    if task is None:
        raise Refusal(1201, f"Task not found by id or external_task_id: {name}")
    return task


async def _refused(refused: Refusal, fault: Fault) -> Response:
    return await answers.sent(fault, refused.status, codes.refusal(refused.code, refused.message))


def _note(
    world: World, body: dict[str, Any], refused: Refusal | None, fault: Fault, task_id: str | None
) -> None:
    outcome = "accepted" if refused is None else "refused" if refused.code else "dropped"
    world.ledger.add(
        "creates",
        outcome,
        external_task_id=body.get("external_task_id"),
        element_name=body.get("element_name"),
        task_id=task_id,
        code=refused.code if refused else 0,
        message=refused.message if refused else "",
        answer=fault.answer,
    )


def _looked_up(world: World, outcome: str, external: str, fault: Fault, **what: int | str) -> None:
    world.ledger.add("lookups", outcome, external_task_id=external, answer=fault.answer, **what)
