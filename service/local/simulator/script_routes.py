"""Calls about a task that has a script, and the callbacks of one."""

import asyncio
from dataclasses import replace

import orjson
from starlette.responses import Response

from service.local.simulator import codes, responses
from service.local.simulator.codes import Refusal
from service.local.simulator.faults import Fault
from service.local.simulator.provider import SimulatedProvider
from service.local.simulator.scripts import Script, callback_fault, record_of
from service.local.simulator.tasks import Task
from service.story.domain.script import Step

LOST = Fault(answer="drop")
NOT_FOUND_CODE = ALREADY_EXISTS_CODE = 1201


async def create(provider: SimulatedProvider, script: Script, body: dict[str, object]) -> Response:
    """Answer a create as the story's was answered; one too many has no answer at all."""
    expected = script.next_create()
    if expected is not None and expected.accepts and script.task is None:
        script.task = provider.create_scripted(body)
        provider.background.start(_send_callbacks(provider, script))
    step = await script.turn("create")
    if step is None:
        return await responses.with_fault(LOST, 200, b"{}")
    response = await _answer(script, step, f"external_task_id {script.external_task_id}")
    await script.done(step)
    return response


async def query(script: Script) -> Response:
    """Answer a query as the story's was answered; one too many, by what was told last."""
    step = await script.turn("poll")
    if step is None:
        step = Step("poll", "not_found") if script.task is None else script.known or Step("poll")
        return await _answer(script, step, script.external_task_id)
    response = await _answer(script, step, script.external_task_id)
    await script.done(step)
    return response


async def _answer(script: Script, step: Step, name: str) -> Response:
    match step.answer:
        case "task" if script.task is not None:
            record = record_of(script.as_told(step), step)
            return responses.json_response(200, codes.success_body(record))
        case "lost":
            return await responses.with_fault(LOST, 200, b"{}")
        case "exists":
            refused = Refusal(ALREADY_EXISTS_CODE, f"{name} already exists")
        case "refusal":
            refused = Refusal(step.code or 1300)
        case _:
            refused = Refusal(NOT_FOUND_CODE, f"Task not found: {name}")
    content = codes.body_without_data(refused.code, refused.message)
    return responses.json_response(refused.status, content)


async def _send_callbacks(provider: SimulatedProvider, script: Script) -> None:
    """Send each callback when its turn comes."""
    while True:
        async with script.changed:
            await script.changed.wait_for(
                lambda: not script.steps or script.steps[0].kind == "callback"
            )
        if not script.steps:
            return
        step = script.steps[0]
        await asyncio.sleep(step.wait)
        told = replace(script.as_told(step), fault=callback_fault(step))
        await send(provider, told, step)
        await script.done(step)


async def send(provider: SimulatedProvider, task: Task, step: Step) -> None:
    """Send a step's callback and its copies, and no more if they are not taken."""
    body = orjson.dumps(record_of(task, step))
    await provider.callback_sender.send_once(task, body, step.copies)
