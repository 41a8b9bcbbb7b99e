"""How far each subject of the demo has come: filled by the runner, shown by the screen."""

import time
from dataclasses import dataclass, field
from typing import Any

from service.local.demo.characters import Character

Json = dict[str, Any]
FINAL_STATES = frozenset({"succeeded", "failed", "canceled"})
REFUSED = "refused"


@dataclass(slots=True)
class Row:
    """What became of one character's request."""

    character: Character  # what was asked for
    # HTTP status of the answer to the create, or what it would be for a job; None until it came.
    status: int | None = None
    answer: Json = field(default_factory=dict)  # body of the answer to the create
    subject: Json = field(default_factory=dict)  # as last read from the API
    events: list[Json] = field(default_factory=list)  # from the API, once the subject has ended
    received: int = 0  # events that the back end received, repeats left out

    @property
    def subject_id(self) -> str | None:
        """Id of the subject; None where the request was refused or not answered yet."""
        return self.answer.get("id") if self.status in (200, 202) else None

    @property
    def state(self) -> str | None:
        """State as last read, `refused` for a refused request, None before the answer."""
        if self.status is None:
            return None
        return str(self.subject.get("state", "queued")) if self.subject_id else REFUSED

    @property
    def is_finished(self) -> bool:
        """Whether the subject has ended, or there is none."""
        return self.state in FINAL_STATES or self.state == REFUSED


@dataclass(slots=True)
class Progress:
    """How far all characters have come."""

    rows: list[Row]  # in the order in which the requests are sent
    repeat_gave_same_subject: bool = False  # whether the first request, sent again, did
    started: float = field(default_factory=time.monotonic)  # seconds, monotonic

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def finished_count(self) -> int:
        """Number of rows that are finished."""
        return sum(row.is_finished for row in self.rows)
