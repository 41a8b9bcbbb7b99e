"""The simulator as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from service.local.simulator import admin_routes, responses
from service.local.simulator import routes as simulator_routes
from service.local.simulator.options import Options
from service.local.simulator.provider import SimulatedProvider
from service.provider.domain.requests import DELETE_PATH, OTHER_DELETE_PATH, PATH


class Simulator(Starlette):
    """A Starlette application that puts the transport into the scope, for responses to close."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[responses.TRANSPORT] = responses.transport_of(send)
        await super().__call__(scope, receive, send)


def build(options: Options) -> Starlette:
    """The application of one provider; needs uvicorn, for responses that close the connection."""
    provider = SimulatedProvider(options)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with provider.running():
            yield

    routes = [
        *(
            Route(path, simulator_routes.create_task, methods=["POST"])
            for path in (PATH, PATH + "/")
        ),
        *(Route(path, simulator_routes.list_tasks, methods=["GET"]) for path in (PATH, PATH + "/")),
        *(
            Route(PATH + end, simulator_routes.query_task, methods=["GET"])
            for end in ("/{name}", "/{name}/")
        ),
        *(
            Route(path, simulator_routes.delete_element, methods=["POST"])
            for path in (DELETE_PATH, OTHER_DELETE_PATH)
        ),
        Mount("/_simulator", routes=admin_routes.ROUTES),
    ]
    app = Simulator(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={404: simulator_routes.not_found, 405: simulator_routes.not_found},
    )
    app.router.redirect_slashes = False
    app.state.provider = provider
    return app
