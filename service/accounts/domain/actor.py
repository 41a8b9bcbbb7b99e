"""Who does what is written to the action log: an operator's key, or whoever runs a command."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class ActorKind(StrEnum):
    """By what somebody acts."""

    KEY = "key"  # a request with an API key or a key pair
    COMMAND = "command"  # the command line


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, from where, and by which request."""

    kind: ActorKind
    name: str  # the name of the key's account; of a command, the user of the operating system
    origin: str | None  # the address that a request came from, as we see it; a command's host
    key_id: str | None = None  # None: a command
    key_name: str | None = None  # None: a command, or a key without one
    session: str | None = None  # of the page for people; None: it was none
    request_id: str | None = None  # None: a command

    def as_json(self) -> dict[str, str | None]:
        """The member `actor` of the action log, which has the request's id beside it."""
        members = asdict(self)
        del members["request_id"]
        return members
