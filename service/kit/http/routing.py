"""Routes: which handler answers a request, by its path and its method."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from starlette.types import ASGIApp

from service.kit.http.request import Request

Handler = Callable[[Request], Awaitable[ASGIApp]]  # gives the response
REST: Final = ":path}"  # a parameter that ends so takes all that is left of a path


@dataclass(frozen=True, slots=True)
class Route:
    """What answers these methods of a path; GET stands for HEAD too.

    A segment of the path that is `{name}` is a parameter and takes any segment that is not empty;
    `{name:path}`, at the end, takes all segments that are left.
    """

    path: str
    handler: Handler
    methods: frozenset[str] | None  # None: every method that no other route of the path has


class Match(NamedTuple):
    """The routes of a path, by method, and what stands in it for parameters."""

    handlers: Mapping[str | None, Handler]  # None: of every other method
    parameters: Mapping[str, str]
    template: str  # the path of these routes, with the names of the parameters


def route(path: str, handler: Handler, *methods: str) -> Route:
    """A route of these methods; without any, of every method that the path has no other for."""
    return Route(path, handler, frozenset(methods) or None)


@dataclass(slots=True)
class _Node:
    """The routes that share the beginning of a path, and those of exactly that path."""

    children: dict[str, "_Node"] = field(default_factory=dict)  # by the next segment
    parameter: tuple[str, "_Node"] | None = None  # its name, and what follows any segment
    rest: tuple[str, "_Node"] | None = None  # its name, and the routes of all that is longer
    handlers: dict[str | None, Handler] = field(default_factory=dict)
    template: str = ""  # of the path, if it has handlers

    def child(self, segment: str) -> "_Node":
        """The node behind a segment of a route's path, which is made if there is none."""
        if segment.endswith(REST):
            self.rest = self.rest or (segment[1 : -len(REST)], _Node())
            return self.rest[1]
        if segment.startswith("{"):
            self.parameter = self.parameter or (segment[1:-1], _Node())
            return self.parameter[1]
        return self.children.setdefault(segment, _Node())


class RouteTable:
    """All routes of an application. Of those that fit a path, one that spells a segment out comes
    before one with a parameter there, and that before one that takes the rest."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for each in routes:
            node = self._root
            for segment in each.path.split("/"):
                node = node.child(segment)
            node.template = each.path.replace(REST, "}")
            node.handlers |= dict.fromkeys(each.methods or {None}, each.handler)
            if each.methods and "GET" in each.methods:
                node.handlers["HEAD"] = each.handler

    def match(self, path: str) -> Match | None:
        """The routes of a path; None if there are none."""
        node, parameters = self._root, dict[str, str]()
        rest: Match | None = None
        segments = path.split("/")
        for at, segment in enumerate(segments):
            if node.rest is not None:
                name, after = node.rest
                named = parameters | {name: "/".join(segments[at:])}
                rest = Match(after.handlers, named, after.template)
            if (child := node.children.get(segment)) is not None:
                node = child
            elif segment and node.parameter is not None:
                name, node = node.parameter
                parameters[name] = segment
            else:
                return rest
        return Match(node.handlers, parameters, node.template) if node.handlers else rest
