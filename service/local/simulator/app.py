"""The simulator as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from service.local.simulator import admin, answers, calls
from service.local.simulator.options import Options
from service.local.simulator.world import World
from service.provider.domain.requests import PATH


class Simulator(Starlette):
    """Starlette, with the connection put where an answer can hang it up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[answers.TRANSPORT] = answers.connection(send)
        await super().__call__(scope, receive, send)


def build(options: Options) -> Starlette:
    """One provider with one account. Needs uvicorn, for answers that hang up."""
    world = World(options)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with world.alive():
            yield

    routes = [
        *(Route(path, calls.create, methods=["POST"]) for path in (PATH, PATH + "/")),
        *(Route(path, calls.listed, methods=["GET"]) for path in (PATH, PATH + "/")),
        *(Route(PATH + end, calls.query, methods=["GET"]) for end in ("/{name}", "/{name}/")),
        Mount("/_simulator", routes=admin.ROUTES),
    ]
    app = Simulator(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={404: calls.unknown, 405: calls.unknown},
    )
    app.router.redirect_slashes = False
    app.state.world = world
    return app
