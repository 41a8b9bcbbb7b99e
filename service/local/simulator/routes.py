"""The provider's API: create, query and list tasks, and delete elements (rules P2 to P5)."""

import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.local.simulator import auth, codes, records, responses, script_routes
from service.local.simulator.codes import Refusal
from service.local.simulator.faults import NO_FAULT, Fault
from service.local.simulator.provider import SimulatedProvider
from service.local.simulator.tasks import Task

MAX_BODY = 64 << 20  # bytes; four images of 10 MB are 54 MB as Base64
PAGE_NUMBERS, PAGE_SIZES, DEFAULT_PAGE_SIZE = range(1, 1001), range(1, 501), 30  # rule P4


async def create_task(request: Request) -> Response:
    """POST: create a task."""
    provider: SimulatedProvider = request.app.state.provider
    body: dict[str, Any] = {}
    fault = NO_FAULT
    try:
        _authorize(provider, request)
        body = await _read_body(request)
        script = provider.scripts.of_request(body)
        if script is not None:
            return await script_routes.create(provider, script, body)
        fault = provider.faults.next_for("create", body)
        _refuse(fault, unless=fault.accepts)
        task, queue = provider.create(body, fault)
    except Refusal as refused:
        _record_create(provider, body, refused, fault, None)
        return await _refusal_response(refused, fault)
    _record_create(provider, body, None, fault, task.id)
    content = codes.success_body(records.created_record(task))
    for _ in range(fault.before_answer if task.callback_url else 0):
        await queue.attempted.acquire()
    if fault.code is not None:
        return await _refusal_response(Refusal(fault.code, fault.message), fault)
    return await responses.with_fault(fault, 200, content)


async def query_task(request: Request) -> Response:
    """GET: one task, by the provider's id or by the caller's."""
    provider: SimulatedProvider = request.app.state.provider
    name = request.path_params["name"]
    task = provider.tasks.find(name)
    external = task.external_task_id if task else name
    fault = NO_FAULT
    try:
        _authorize(provider, request)
        script = provider.scripts.of_task(name)
        if script is not None:
            return await script_routes.query(script)
        fault = provider.faults.next_for(
            "query", {**(task.request if task else {}), "external_task_id": external}
        )
        _refuse(fault, unless=fault.code is None)
        task = _found(task, name)
    except Refusal as refused:
        _record_look_up(provider, "refused", external, fault, code=refused.code)
        return await _refusal_response(refused, fault)
    _record_look_up(
        provider, "found", external, fault, task_id=task.id, status=records.status_word(task)
    )
    return await responses.with_fault(fault, 200, codes.success_body(records.legacy_record(task)))


async def delete_element(request: Request) -> Response:
    """POST: delete the element that a task made; the answer has no `data` (rule P5)."""
    provider: SimulatedProvider = request.app.state.provider
    fault, task, element_id = NO_FAULT, None, None
    try:
        _authorize(provider, request)
        element_id = (await _read_body(request)).get("element_id")
        task = provider.find_element(element_id)
        named = {**task.request, "external_task_id": task.external_task_id} if task else {}
        fault = provider.faults.next_for("delete", named)
        _refuse(fault, unless=fault.accepts)
        provider.delete_element(_made(task, element_id))
    except Refusal as refused:
        _record_delete(provider, element_id, task, fault, refused.code)
        return await _refusal_response(refused, fault)
    _record_delete(provider, element_id, task, fault, None)
    if fault.code is not None:
        return await _refusal_response(Refusal(fault.code, fault.message), fault)
    return await responses.with_fault(fault, 200, codes.body_without_data(0, "SUCCEED"))


async def list_tasks(request: Request) -> Response:
    """GET: a page of tasks, newest first."""
    provider: SimulatedProvider = request.app.state.provider
    fault = NO_FAULT
    try:
        _authorize(provider, request)
        fault = provider.faults.next_for("list", {})
        _refuse(fault, unless=fault.code is None)
        number = _page_parameter(request, "pageNum", PAGE_NUMBERS, 1)
        size = _page_parameter(request, "pageSize", PAGE_SIZES, DEFAULT_PAGE_SIZE)
    except Refusal as refused:
        return await _refusal_response(refused, fault)
    page = [records.legacy_record(task) for task in provider.tasks.page(number, size)]
    return await responses.with_fault(fault, 200, codes.success_body(page))


async def not_found(request: Request, error: Exception) -> Response:
    """Refuse a path that does not exist (1203) or does not take this method (1202)."""
    code = 1202 if getattr(error, "status_code", 404) == 405 else 1203  # noqa: PLR2004 — HTTP
    return await _refusal_response(Refusal(code, f"{request.method} {request.url.path}"), NO_FAULT)


def _authorize(provider: SimulatedProvider, request: Request) -> None:
    auth.check(request.headers.get("authorization"), provider.options, time.time())
    provider.check_rate_limit()


async def _read_body(request: Request) -> dict[str, Any]:
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


def _page_parameter(request: Request, name: str, allowed: range, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) in allowed):  # noqa: PLR2004 — digits of the largest
        raise Refusal(1201, f"{name} must be {allowed[0]} to {allowed[-1]}")
    return int(text)


def _refuse(fault: Fault, *, unless: bool) -> None:
    """Raise Refusal with the fault's code; with 0, which no caller sees, if it only drops."""
    if not unless:
        raise Refusal(fault.code or 0, fault.message)


def _found(task: Task | None, name: str) -> Task:
    if task is None:
        raise Refusal(1201, f"Task not found by id or external_task_id: {name}")
    return task


def _made(task: Task | None, element_id: object) -> Task:
    if task is None:
        raise Refusal(1201, f"Element not found by element_id: {element_id}")
    return task


async def _refusal_response(refused: Refusal, fault: Fault) -> Response:
    return await responses.with_fault(
        fault, refused.status, codes.body_without_data(refused.code, refused.message)
    )


def _record_create(
    provider: SimulatedProvider,
    body: dict[str, Any],
    refused: Refusal | None,
    fault: Fault,
    task_id: str | None,
) -> None:
    outcome = "accepted" if refused is None else "refused" if refused.code else "dropped"
    provider.ledger.add(
        "creates",
        outcome,
        external_task_id=body.get("external_task_id"),
        element_name=body.get("element_name"),
        task_id=task_id,
        code=refused.code if refused else 0,
        message=refused.message if refused else "",
        answer=fault.answer,
    )


def _record_delete(
    provider: SimulatedProvider,
    element_id: object,
    task: Task | None,
    fault: Fault,
    refused_code: int | None,
) -> None:
    """Record a delete; `refused_code` is None if it was done, and 0 if it was only dropped."""
    outcome = "refused" if refused_code else "dropped" if refused_code == 0 else "done"
    provider.ledger.add(
        "deletes",
        outcome,
        element_id=element_id,
        external_task_id=task.external_task_id if task else None,
        code=refused_code or 0,
        answer=fault.answer,
    )


def _record_look_up(
    provider: SimulatedProvider, outcome: str, external: str, fault: Fault, **what: int | str
) -> None:
    provider.ledger.add("lookups", outcome, external_task_id=external, answer=fault.answer, **what)
