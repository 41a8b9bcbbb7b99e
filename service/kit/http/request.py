"""A request as handlers have it."""

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope

from service.kit.http.headers import Headers


class Request:
    """What ASGI gives of a request, with what the route found in its path. The framework's own
    object does more, and making one costs as much as a look-up of the path."""

    __slots__ = ("headers", "path_params", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive, path_params: Mapping[str, str]) -> None:
        self.scope = scope
        self.receive = receive
        self.path_params = path_params
        self.headers = Headers(scope["headers"])

    @property
    def app(self) -> Any:  # noqa: ANN401 - each application has its own state
        """The application that answers."""
        return self.scope["app"]

    @property
    def method(self) -> str:
        """In upper case, as it was sent."""
        method: str = self.scope["method"]
        return method

    @property
    def path(self) -> str:
        """The path, decoded."""
        path: str = self.scope["path"]
        return path

    @property
    def query_params(self) -> QueryParams:
        """The query parameters; of those with one name, the last counts."""
        return QueryParams(self.scope["query_string"])
