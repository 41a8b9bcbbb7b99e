"""Tasks, and the store that finds them by the provider's id or by the caller's."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from service.local.simulator.faults import NO_FAULT, Fault

FINAL_STATUSES = ("succeed", "failed")


@dataclass(slots=True)
class Task:
    """One create-subject task."""

    id: str  # 18 digits
    request: dict[str, Any]  # body of the create, with URLs in place of Base64
    created_at: int  # Unix milliseconds
    updated_at: int  # Unix milliseconds
    fault: Fault = NO_FAULT  # the rule that the create matched
    status: str = "submitted"  # rule P30
    message: str = ""  # why it failed
    element_id: int | None = None  # None until it succeeds
    is_deleted: bool = False  # whether its element was deleted
    units: str | None = None  # that it cost; None: it has not ended, or cost nothing
    is_unlisted: bool = False  # whether the list leaves it out, which is a lie

    @property
    def external_task_id(self) -> str:
        """The caller's own id; empty if it gave none."""
        return str(self.request.get("external_task_id") or "")

    @property
    def callback_url(self) -> str:
        """The URL of the task's callbacks; empty if the caller gave none."""
        return str(self.request.get("callback_url") or "")

    @property
    def is_finished(self) -> bool:
        """Whether the task has succeeded or failed."""
        return self.status in FINAL_STATUSES

    def change_status(self, status: str, message: str = "", element_id: int | None = None) -> None:
        """Change the status, as of now."""
        self.status, self.message, self.element_id = status, message, element_id
        self.updated_at = now_ms()


@dataclass(slots=True)
class TaskStore:
    """All tasks of the account."""

    by_id: dict[str, Task] = field(default_factory=dict)  # oldest first
    by_external_id: dict[str, Task] = field(default_factory=dict)  # the caller's ids
    by_element_id: dict[str, Task] = field(default_factory=dict)  # of those that have succeeded
    running: int = 0  # tasks that have not ended
    peak_running: int = 0  # the most there were at once
    _last_id: int = 0  # the highest id given so far; the next is higher

    def new_id(self) -> int:
        """A new id of 18 digits, above 2**53: the millisecond, and a count within it."""
        self._last_id = max(self._last_id + 1, now_ms() * 100_000)
        return self._last_id

    def add(self, task: Task) -> None:
        """Add a task; its external id must be unused."""
        self.by_id[task.id] = task
        if task.external_task_id:
            self.by_external_id[task.external_task_id] = task
        self._last_id = max(self._last_id, int(task.id), task.element_id or 0)
        self.add_element(task)
        if not task.is_finished:
            self.running += 1
            self.peak_running = max(self.peak_running, self.running)

    def add_copy(self, task: Task, external_task_id: str) -> None:
        """Add a task that nobody created: like another that has ended, under an id of its own."""
        request = {**task.request, "external_task_id": external_task_id}
        copy = replace(task, id=str(self.new_id()), request=request)
        self.by_id[copy.id] = copy

    def add_element(self, task: Task) -> None:
        """Let the task be found by its element, if it has one."""
        if task.element_id is not None:
            self.by_element_id[str(task.element_id)] = task

    def count_ended(self) -> None:
        """Count one running task less."""
        self.running -= 1

    def find(self, name: str) -> Task | None:
        """The task with this id, the provider's or the caller's; None if there is none."""
        return self.by_id.get(name) or self.by_external_id.get(name)

    def page(self, number: int, size: int) -> list[Task]:
        """A page of tasks, newest first; `number` starts at 1."""
        newest = [task for task in reversed(self.by_id.values()) if not task.is_unlisted]
        return newest[(number - 1) * size : number * size]


def now_ms() -> int:
    """The current time in Unix milliseconds."""
    return time.time_ns() // 1_000_000
