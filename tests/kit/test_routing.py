"""Which handler answers which path and method, and what it finds in the path."""

import pytest
from starlette.responses import Response

from service.kit.http.request import Request
from service.kit.http.routing import RouteTable, route


async def answer(_request: Request) -> Response:
    return Response()


TABLE = RouteTable(
    [
        route("/things", answer, "GET"),
        route("/things", answer, "POST"),
        route("/things/all", answer, "DELETE"),
        route("/things/{thing_id}", answer, "GET"),
        route("/things/{thing_id}/parts/{part_id}", answer, "PATCH"),
        route("/files/", answer, "GET"),
        route("/files/{name:path}", answer, "GET"),
        route("/files/{name:path}", answer),
        route("/files/logs/new", answer, "POST"),
    ]
)


def found(path: str) -> tuple[set[str | None], dict[str, str]] | None:
    """The methods of a path, and its parameters; None if no route fits."""
    match = TABLE.match(path)
    return None if match is None else (set(match.handlers), dict(match.parameters))


@pytest.mark.parametrize(
    ("path", "methods", "parameters"),
    [
        ("/things", {"GET", "HEAD", "POST"}, {}),
        ("/things/all", {"DELETE"}, {}),
        ("/things/7", {"GET", "HEAD"}, {"thing_id": "7"}),
        ("/things/7/parts/8", {"PATCH"}, {"thing_id": "7", "part_id": "8"}),
        ("/files/", {"GET", "HEAD"}, {}),
        ("/files/a", {"GET", "HEAD", None}, {"name": "a"}),
        ("/files/a//b/", {"GET", "HEAD", None}, {"name": "a//b/"}),
        ("/files/logs", {"GET", "HEAD", None}, {"name": "logs"}),
        ("/files/logs/new", {"POST"}, {}),
        ("/files/logs/old", {"GET", "HEAD", None}, {"name": "logs/old"}),
    ],
)
def test_a_path_has_the_routes_that_fit_it_best(
    path: str, methods: set[str | None], parameters: dict[str, str]
) -> None:
    assert found(path) == (methods, parameters)


@pytest.mark.parametrize(
    "path",
    ["", "/", "things", "/things/", "/things//", "/things//parts/8", "/things/7/parts", "/files"],
)
def test_a_path_that_no_route_fits_has_none(path: str) -> None:
    assert found(path) is None
