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
    """One role, and what became of it. `state` is None until it is sent."""

    character: Character
    status: int | None = None  # of the answer to the create
    answer: Json = field(default_factory=dict)
    subject: Json = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    received: int = 0

    @property
    def subject_id(self) -> str | None:
        """Ours; None for a refused one."""
        return self.answer.get("id") if self.status in (200, 202) else None

    @property
    def state(self) -> str | None:
        """The state as last seen."""
        if self.status is None:
            return None
        return str(self.subject.get("state", "queued")) if self.subject_id else REFUSED

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is to come."""
        return self.state in FINAL_STATES or self.state == REFUSED


@dataclass(slots=True)
class Progress:
    """All parts; `repeated`: whether the first request, sent again, gave the same subject."""

    rows: list[Row]
    repeat_gave_same_subject: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def finished_count(self) -> int:
        """How many have ended."""
        return sum(part.is_finished for part in self.rows)
