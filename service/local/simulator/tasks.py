"""Tasks and the book they are kept in: found by the provider's id or by the caller's."""

import time
from dataclasses import dataclass, field
from typing import Any

from service.local.simulator.faults import NO_FAULT, Fault

FINAL_STATUSES = ("succeed", "failed")


@dataclass(slots=True)
class Task:
    """One create-subject task. Times are Unix milliseconds; `request` has no Base64 in it."""

    id: str
    request: dict[str, Any]
    created_at: int
    updated_at: int
    fault: Fault = NO_FAULT
    status: str = "submitted"
    message: str = ""
    element_id: int | None = None

    @property
    def external_task_id(self) -> str:
        """The caller's own id, or an empty text."""
        return str(self.request.get("external_task_id") or "")

    @property
    def callback_url(self) -> str:
        """Where the caller wants to hear of it, or an empty text."""
        return str(self.request.get("callback_url") or "")

    @property
    def is_finished(self) -> bool:
        """Whether it succeeded or failed."""
        return self.status in FINAL_STATUSES

    def change_status(self, status: str, message: str = "", element_id: int | None = None) -> None:
        """Go on to another status, at this moment."""
        self.status, self.message, self.element_id = status, message, element_id
        self.updated_at = now_ms()


@dataclass(slots=True)
class TaskStore:
    """All tasks of the one user there is."""

    by_id: dict[str, Task] = field(default_factory=dict)
    by_external_id: dict[str, Task] = field(default_factory=dict)
    running: int = 0
    peak_running: int = 0
    _last_id: int = 0

    def new_id(self) -> int:
        """18 digits, above 2**53, never given before: the millisecond and a count within it."""
        self._last_id = max(self._last_id + 1, now_ms() * 100_000)
        return self._last_id

    def add(self, task: Task) -> None:
        """Put a task in; its external id must be free."""
        self.by_id[task.id] = task
        if task.external_task_id:
            self.by_external_id[task.external_task_id] = task
        self._last_id = max(self._last_id, int(task.id))
        if not task.is_finished:
            self.running += 1
            self.peak_running = max(self.peak_running, self.running)

    def count_ended(self) -> None:
        """One task has come to its end."""
        self.running -= 1

    def find(self, name: str) -> Task | None:
        """By the provider's id or by the caller's."""
        return self.by_id.get(name) or self.by_external_id.get(name)

    def page(self, number: int, size: int) -> list[Task]:
        """The newest first; `number` starts at 1."""
        newest = list(reversed(self.by_id.values()))
        return newest[(number - 1) * size : number * size]


def now_ms() -> int:
    """The time now, as the provider writes it."""
    return time.time_ns() // 1_000_000
