"""The id of the request that is being answered: in its response, in problem details, in log lines
and in the action log alike, so that what a caller reports leads to what was logged.
"""

from contextvars import ContextVar

from structlog.typing import EventDict, WrappedLogger

_CURRENT: ContextVar[str | None] = ContextVar("request_id", default=None)


def set_request_id(request_id: str) -> None:
    """Say which request is answered from now on in this task, and in those that it starts."""
    _CURRENT.set(request_id)


def current_request_id() -> str | None:
    """The id of the request that is being answered; None where none is."""
    return _CURRENT.get()


def add_request_id(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """A structlog processor: a line has the id of the request that it was logged for."""
    request_id = _CURRENT.get()
    if request_id is not None:
        line.setdefault("request_id", request_id)
    return line
