"""The simulator's own paths, under `/_simulator`: what happened, and what is to go wrong."""

from dataclasses import asdict

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.local.simulator import json_fields
from service.local.simulator.faults import Fault
from service.local.simulator.provider import SimulatedProvider
from service.local.simulator.responses import json_response


async def healthz(_: Request) -> Response:
    """GET: it is up."""
    return json_response(200, b'{"status":"ok"}')


async def ledger(request: Request) -> Response:
    """GET: creates, look-ups, callbacks; `?external_task_id=` for one subject's only."""
    world: SimulatedProvider = request.app.state.world
    book = world.tasks
    read = world.ledger.read(request.query_params.get("external_task_id"))
    tasks = {"tasks": len(book.by_id), "running": book.running, "peak_running": book.peak_running}
    read["counts"].update(tasks)
    return json_response(200, orjson.dumps(read))


async def faults(request: Request) -> Response:
    """GET: the rules in force. POST: one more, or a list of them. DELETE: none any more."""
    world: SimulatedProvider = request.app.state.world
    if request.method == "DELETE":
        world.faults.clear()
    if request.method == "POST":
        try:
            body = orjson.loads(await request.body())
            rules = (
                [json_fields.replace_fields(Fault(), one) for one in body]
                if isinstance(body, list)
                else None
            )
            for rule in rules if rules is not None else [json_fields.replace_fields(Fault(), body)]:
                world.faults.add(rule)
        except ValueError as error:
            return _bad_request(error)
    return json_response(200, orjson.dumps([asdict(fault) for fault in world.faults.active()]))


async def settings(request: Request) -> Response:
    """GET: the settings. POST: those named are changed, from the next task or call on."""
    world: SimulatedProvider = request.app.state.world
    if request.method == "POST":
        try:
            world.settings = json_fields.replace_fields(
                world.settings, orjson.loads(await request.body())
            )
        except ValueError as error:
            return _bad_request(error)
    return json_response(200, orjson.dumps(asdict(world.settings)))


async def callback_test(request: Request) -> Response:
    """POST `{"url": …}`: what the vendor console's "test callback" button does."""
    world: SimulatedProvider = request.app.state.world
    try:
        world.callback_sender.send_test(str(orjson.loads(await request.body())["url"]))
    except (ValueError, KeyError, TypeError) as error:
        return _bad_request(error)
    return json_response(202, b"{}")


def _bad_request(error: Exception) -> Response:
    return json_response(400, orjson.dumps({"error": str(error)}))


ROUTES = [
    Route("/healthz", healthz),
    Route("/ledger", ledger),
    Route("/faults", faults, methods=["GET", "POST", "DELETE"]),
    Route("/settings", settings, methods=["GET", "POST"]),
    Route("/test-callback", callback_test, methods=["POST"]),
]
