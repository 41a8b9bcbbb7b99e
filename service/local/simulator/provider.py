"""The simulated provider: creates tasks, runs them to their end, has them called back, and deletes
their elements."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from service.intake.domain import request_rules
from service.kit import errors
from service.kit.crypto.key_formats import parse_whsec
from service.local.simulator import media
from service.local.simulator.background import Background
from service.local.simulator.callbacks import CallbackQueue, CallbackSender
from service.local.simulator.codes import Refusal
from service.local.simulator.faults import Fault, Faults
from service.local.simulator.journal import Journal
from service.local.simulator.ledger import Ledger
from service.local.simulator.options import Options, Settings
from service.local.simulator.scripts import Scripts
from service.local.simulator.tasks import Task, TaskStore, now_ms


class SimulatedProvider:
    """A provider with one account, to be used inside `running()` only."""

    callback_sender: CallbackSender
    session: aiohttp.ClientSession

    def __init__(self, options: Options) -> None:
        self.options = options
        self.settings: Settings = options.settings
        self.faults = Faults()
        self.ledger = Ledger()
        self.tasks = TaskStore()
        self.scripts = Scripts()
        self._journal = Journal(options.data) if options.data else None
        self.background = Background()
        self._second, self._calls = 0, 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Resumes the tasks of the journal; cancels all work at the end."""
        secret = self.options.webhook_secret
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self.session:
            self.callback_sender = CallbackSender(
                session=self.session,
                background=self.background,
                ledger=self.ledger,
                key=parse_whsec(secret) if secret else None,
                settings=lambda: self.settings,
                new_id=self.tasks.new_id,
            )
            self._resume()
            try:
                yield
            finally:
                await self.background.close()
                if self._journal:
                    self._journal.close()

    def check_rate_limit(self) -> None:
        """Raise Refusal 1302 if this second has had as many calls as the settings allow."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._calls = second, 0
        self._calls += 1
        if self.settings.rate is not None and self._calls > self.settings.rate:
            raise Refusal(1302)

    def create(self, body: dict[str, Any], fault: Fault) -> tuple[Task, CallbackQueue]:
        """Create and start a task; raises Refusal 1201 (invalid) or 1303 (parallel limit)."""
        external = body.get("external_task_id")
        if isinstance(external, str) and external in self.tasks.by_external_id:
            raise Refusal(1201, f"external_task_id {external} already exists")
        self._check(body)
        if self.settings.parallel is not None and self.tasks.running >= self.settings.parallel:
            raise Refusal(1303)
        now = now_ms()
        task = Task(str(self.tasks.new_id()), media.without_base64(body), now, now, fault)
        self.tasks.add(task)
        if self._journal:
            self._journal.add_created(task)
        queue = CallbackQueue()
        self.callback_sender.enqueue(queue, task)
        self.background.start(self._run_task(task, queue))
        return task, queue

    def find_element(self, element_id: object) -> Task | None:
        """The task that made this element, a text (rule P7), and whose element was not deleted;
        None if there is none."""
        task = self.tasks.by_element_id.get(element_id) if isinstance(element_id, str) else None
        return None if task is None or task.is_deleted else task

    def delete_element(self, task: Task) -> None:
        """Delete the element that the task made. No callback tells of it."""
        task.is_deleted = True
        if self._journal:
            self._journal.add_changed(task)

    def create_scripted(self, body: dict[str, Any]) -> Task:
        """Create a task that does nothing by itself."""
        now = now_ms()
        task = Task(
            str(self.tasks.new_id()),
            media.without_base64(body),
            now,
            now,
            element_id=self.tasks.new_id(),
        )
        self.tasks.add(task)
        return task

    def _check(self, body: dict[str, Any]) -> None:
        try:
            request_rules.parse_request(body, account_id="")
        except errors.Invalid as error:
            text = "; ".join(f"{field.pointer}: {field.message}" for field in error.errors)
            raise Refusal(1201, text) from None
        for where, given in media.image_fields(body):
            if given.startswith("data:"):  # rule P15
                raise Refusal(1201, f"{where}: Base64 is wanted without a data: prefix")

    def _resume(self) -> None:
        for task in self._journal.replay() if self._journal else ():
            self.tasks.add(task)
            self.ledger.add(
                "creates",
                "replayed",
                task_id=task.id,
                external_task_id=task.external_task_id,
                element_name=task.request.get("element_name"),
            )
            if not task.is_finished:
                self.background.start(self._run_task(task, CallbackQueue()))

    async def _run_task(self, task: Task, queue: CallbackQueue) -> None:
        fault, settings = task.fault, self.settings
        if task.status == "submitted":
            await _sleep_until(task, fault.processing_after, settings.processing_after)
            self._change_status(task, queue, "processing")
        if fault.stuck:
            return
        failure = fault.fail
        if failure is None and settings.fetch_media:
            failure = await media.media_problem(self.session, task.request)
        await _sleep_until(task, fault.finished_after, settings.finished_after)
        if failure is None:
            self._change_status(task, queue, "succeed", element_id=self.tasks.new_id())
        else:
            self._change_status(task, queue, "failed", failure)
        self.tasks.count_ended()

    def _change_status(
        self,
        task: Task,
        queue: CallbackQueue,
        status: str,
        message: str = "",
        element_id: int | None = None,
    ) -> None:
        task.change_status(status, message, element_id)
        if task.is_finished:
            usual = self.settings.units if status == "succeed" else None
            task.units = usual if task.fault.units is None else task.fault.units
        self.tasks.add_element(task)
        if self._journal:
            self._journal.add_changed(task)
        self.callback_sender.enqueue(queue, task)


async def _sleep_until(task: Task, own: float | None, default: float) -> None:
    """Sleep until `own` seconds after the task's creation, or `default` if that is None."""
    after = default if own is None else own
    await asyncio.sleep(task.created_at / 1000 + after - time.time())
