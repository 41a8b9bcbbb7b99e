"""The simulator's admin paths, under `/_simulator`: its ledger, faults and settings."""

from dataclasses import asdict, dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.local.example import picture
from service.local.film import film
from service.local.simulator import json_fields
from service.local.simulator.faults import Fault
from service.local.simulator.provider import SimulatedProvider
from service.local.simulator.responses import json_response


async def healthz(_: Request) -> Response:
    """GET: 200 while the simulator runs."""
    return json_response(200, b'{"status":"ok"}')


async def ledger(request: Request) -> Response:
    """GET: creates, look-ups, deletes and callbacks; with `?external_task_id=`, of that task."""
    provider: SimulatedProvider = request.app.state.provider
    book = provider.tasks
    read = provider.ledger.read(request.query_params.get("external_task_id"))
    tasks = {"tasks": len(book.by_id), "running": book.running, "peak_running": book.peak_running}
    read["counts"].update(tasks)
    return json_response(200, orjson.dumps(read))


async def faults(request: Request) -> Response:
    """GET: the active faults. POST: add one, or a list of them. DELETE: deactivate all."""
    provider: SimulatedProvider = request.app.state.provider
    if request.method == "DELETE":
        provider.faults.clear()
    if request.method == "POST":
        try:
            body = orjson.loads(await request.body())
            rules = body if isinstance(body, list) else [body]
            for fault in [json_fields.replace_fields(Fault(), rule) for rule in rules]:
                provider.faults.add(fault)
        except ValueError as error:
            return _bad_request(error)
    return json_response(200, orjson.dumps([asdict(fault) for fault in provider.faults.active()]))


async def settings(request: Request) -> Response:
    """GET: the settings. POST: change some of them, from the next task or call on."""
    provider: SimulatedProvider = request.app.state.provider
    if request.method == "POST":
        try:
            provider.settings = json_fields.replace_fields(
                provider.settings, orjson.loads(await request.body())
            )
        except ValueError as error:
            return _bad_request(error)
    return json_response(200, orjson.dumps(asdict(provider.settings)))


async def scripts(request: Request) -> Response:
    """GET: how far the scripts have come. POST: add one, `{"element_name": …, "steps": […]}`, for
    the next create request of this name."""
    provider: SimulatedProvider = request.app.state.provider
    if request.method == "POST":
        try:
            provider.scripts.add(orjson.loads(await request.body()))
        except ValueError as error:
            return _bad_request(error)
    return json_response(200, orjson.dumps(provider.scripts.as_json()))


async def media(request: Request) -> Response:
    """GET: a picture, a film, or (`bad`) what is neither; for requests that name media by URL."""
    match request.path_params["name"]:
        case "film.mp4":
            return Response(film(), media_type="video/mp4")
        case "bad":
            return Response(b"neither a picture nor a film", media_type="image/png")
        case name:
            colour = "darkred" if name == "darkred.png" else "red"
            return Response(picture(colour), media_type="image/png")


async def callback_test(request: Request) -> Response:
    """POST `{"url": …}`: send the callback of the console's test button (rule P76)."""
    provider: SimulatedProvider = request.app.state.provider
    try:
        provider.callback_sender.send_test(str(orjson.loads(await request.body())["url"]))
    except (ValueError, KeyError, TypeError) as error:
        return _bad_request(error)
    return json_response(202, b"{}")


@dataclass(frozen=True, slots=True)
class Lie:
    """What `POST /_simulator/lies` has the list and the look-ups say of a task that has ended; a
    field that is left out stays true."""

    external_task_id: str  # of the task
    units: str | None = None  # another cost than was called back
    unlisted: bool = False  # whether the list leaves it out
    copy_as: str | None = None  # the external id of a second task, equal but for its id


async def lies(request: Request) -> Response:
    """POST: lie about a task from now on."""
    provider: SimulatedProvider = request.app.state.provider
    try:
        lie = json_fields.replace_fields(Lie(""), orjson.loads(await request.body()))
        task = provider.tasks.by_external_id[lie.external_task_id]
    except (ValueError, KeyError) as error:
        return _bad_request(error)
    task.units = task.units if lie.units is None else lie.units
    task.is_unlisted = lie.unlisted
    if lie.copy_as is not None:
        provider.tasks.add_copy(task, lie.copy_as)
    return json_response(200, b"{}")


def _bad_request(error: Exception) -> Response:
    return json_response(400, orjson.dumps({"error": str(error)}))


ROUTES = [
    Route("/healthz", healthz),
    Route("/ledger", ledger),
    Route("/faults", faults, methods=["GET", "POST", "DELETE"]),
    Route("/settings", settings, methods=["GET", "POST"]),
    Route("/lies", lies, methods=["POST"]),
    Route("/scripts", scripts, methods=["GET", "POST"]),
    Route("/media/{name}", media),
    Route("/test-callback", callback_test, methods=["POST"]),
]
