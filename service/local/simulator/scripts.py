"""Scripts: tasks whose calls and callbacks go as those of a story did, step by step."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from service.local.simulator import records
from service.local.simulator.faults import Fault
from service.local.simulator.tasks import Task
from service.story.domain.script import MAX_STEPS, Step

MAX_SCRIPTS: Final = 100
MAX_TURN: Final = 10.0  # seconds that a call waits for the steps before its own
SUCCEEDED: Final = ("succeed", "succeeded")


@dataclass(slots=True)
class Script:
    """The steps of one task that are still to come, and the task as far as it has come."""

    element_name: str  # of the request that it is for
    steps: list[Step]
    external_task_id: str = ""  # of that request, once it came
    began: float = 0.0  # Unix seconds, when its first create came
    task: Task | None = None  # None: the provider has none yet
    creates: int = 0  # creates that were answered
    known: Step | None = None  # what told the task's status last; None: nothing has
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def turn(self, kind: str) -> Step | None:
        """The step of a call of this kind, once those before it are done; None if there is none to
        come, or if its turn does not come."""
        try:
            async with asyncio.timeout(MAX_TURN), self.changed:
                await self.changed.wait_for(lambda: not self._is_before_others(kind))
        except TimeoutError:
            return None
        return self.steps[0] if self.steps and self.steps[0].kind == kind else None

    def _is_before_others(self, kind: str) -> bool:
        """Whether a call of this kind has to wait: it has a step, and others come first."""
        return self.steps[0].kind != kind and any(step.kind == kind for step in self.steps)

    async def done(self, step: Step) -> None:
        """A step was made: the next one's turn comes."""
        async with self.changed:
            self.steps.remove(step)
            self.creates += step.kind == "create"
            if step.answer == "task" and step.sign == "signed":
                self.known = step
            self.changed.notify_all()

    def next_create(self) -> Step | None:
        """The next step that answers a create; None: there is none to come."""
        return next((step for step in self.steps if step.kind == "create"), None)

    def as_told(self, step: Step | None) -> Task:
        """The task as this step tells of it; None: as it was told of last."""
        step = step or self.known or Step("poll")
        task = self.task
        assert task is not None  # noqa: S101 - whoever asks has seen that there is one
        at = task.updated_at if step.seconds is None else int((self.began + step.seconds) * 1000)
        status = "succeed" if step.status in SUCCEEDED else step.status
        message = "as in the story" if status == "failed" else ""
        return replace(task, status=status, message=message, updated_at=max(0, at))

    def as_json(self) -> dict[str, Any]:
        """How far it has come."""
        return {
            "element_name": self.element_name,
            "external_task_id": self.external_task_id,
            "creates": self.creates,
            "left": len(self.steps),
        }


def record_of(task: Task, step: Step | None) -> dict[str, Any]:
    """The record that tells of a task; an incomplete success has nothing that was made."""
    record = records.legacy_record(task)
    if step is not None and step.incomplete:
        record.pop("task_result", None)
    return record


def callback_fault(step: Step) -> Fault:
    """How a step's callback is signed."""
    return Fault(forge=step.sign == "forged", unsigned=step.sign == "unsigned")


class Scripts:
    """The scripts that were posted, by whatever names their tasks."""

    def __init__(self) -> None:
        self._scripts: list[Script] = []

    def add(self, body: object) -> Script:
        """Add a script, for the next request with its element_name; ValueError if it is none."""
        try:
            posted = msgspec.convert(body, _Posted)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
        if len(posted.steps) > MAX_STEPS:
            raise ValueError(f"steps has more than {MAX_STEPS}")
        script = Script(posted.element_name, posted.steps)
        self._scripts = [*self._scripts[1 - MAX_SCRIPTS :], script]
        return script

    def of_request(self, body: dict[str, Any]) -> Script | None:
        """The script of a create request; None: it has none. From its first one on it is bound to
        the request's external_task_id."""
        external, name = body.get("external_task_id"), body.get("element_name")
        for script in self._scripts:
            if script.external_task_id == external:
                return script
        for script in self._scripts:
            if script.element_name == name and not script.external_task_id:
                script.external_task_id, script.began = str(external), time.time()
                return script
        return None

    def of_task(self, name: str) -> Script | None:
        """The script of the task with this id, the provider's or the caller's; None: it has
        none."""
        for script in self._scripts:
            if name and name in (script.external_task_id, script.task and script.task.id):
                return script
        return None

    def as_json(self) -> list[dict[str, Any]]:
        """How far each has come, the oldest first."""
        return [script.as_json() for script in self._scripts]


class _Posted(msgspec.Struct):
    element_name: str
    steps: list[Step]
