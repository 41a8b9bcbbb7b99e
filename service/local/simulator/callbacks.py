"""Sends callbacks: signed (rule P74), retried, and spoilt where a fault says so."""

import asyncio
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import aiohttp
import orjson

from service.kit.crypto import webhook_signatures
from service.local.simulator import records
from service.local.simulator.background import Background
from service.local.simulator.faults import NO_FAULT, Fault
from service.local.simulator.ledger import Ledger
from service.local.simulator.options import Settings
from service.local.simulator.tasks import Task


@dataclass(frozen=True, slots=True)
class Callback:
    """One message: its body and its id are the same in every attempt."""

    url: str  # the task's callback_url
    id: str  # header `webhook-id`
    body: bytes  # the JSON that is sent
    status: str  # of the task, as the body has it
    task_id: str  # the simulator's id of the task
    external_task_id: str = ""  # the caller's id of the task; empty: none was given
    fault: Fault = NO_FAULT  # of the task


@dataclass(slots=True)
class CallbackQueue:
    """The callbacks of one task, whose first attempts are made one after the other."""

    waiting: deque[Callback] = field(default_factory=deque)  # not attempted yet, in order
    held: list[Callback] = field(default_factory=list)  # until the last one, for `reorder`
    is_sending: bool = False  # whether `waiting` is being sent
    # Released once for each callback, after its first attempt or when it is lost.
    attempted: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))


@dataclass(slots=True)
class CallbackSender:
    """Sends the callbacks of all tasks."""

    session: aiohttp.ClientSession  # sends the requests
    background: Background  # runs the sending, so that no request waits for it
    ledger: Ledger  # where each attempt is recorded
    key: bytes | None  # the webhook secret; None: nothing is signed
    settings: Callable[[], Settings]  # called anew for each callback
    new_id: Callable[[], int]  # makes ids, as tasks have them
    lost_share_due: float = 0.0  # sum of `lose_share` so far; a callback is lost when it reaches 1

    def enqueue(self, queue: CallbackQueue, task: Task) -> None:
        """Send a callback about the task's new status, unless a fault loses it or holds it back."""
        if not task.callback_url:
            return
        callback, lost = self._callback_about(task), self._is_lost(task)
        if lost:
            self._record(callback, "lost", None)
            queue.attempted.release()
        elif task.fault.reorder and not task.is_finished:
            queue.held.append(callback)
        else:
            queue.waiting.append(callback)
        if task.is_finished:
            queue.waiting.extend(reversed(queue.held))
            queue.held.clear()
            if task.fault.contradict and not lost:
                queue.waiting.append(self._contradicting_callback(task))
        if not queue.is_sending:
            queue.is_sending = True
            self.background.start(self._send_queued(queue))

    def send_test(self, url: str) -> None:
        """Send the callback of the console's test button, about no task there is (rule P76)."""
        now = time.time_ns() // 1_000_000
        task = Task(str(self.new_id()), {"callback_url": url}, now, now, Fault(shape="current"))
        self.background.start(self._send(self._callback_about(task)))

    async def send_once(self, task: Task, body: bytes, copies: int) -> None:
        """Send this body about a task, and so many copies of it; none is sent again."""
        callback = replace(self._callback_about(task), body=body)
        for _ in range(1 + copies):
            await self._attempt(callback)

    def _is_lost(self, task: Task) -> bool:
        self.lost_share_due += task.fault.lose_share
        due = self.lost_share_due >= 1 - 1e-9
        self.lost_share_due -= due
        return due or task.fault.loses(task.status)

    def _callback_about(self, task: Task) -> Callback:
        record = records.callback_record(task, task.fault.shape or self.settings().shape)
        return Callback(
            url=task.callback_url,
            id=str(self.new_id()),
            body=orjson.dumps(record),
            status=records.status_word(task),
            task_id=task.id,
            external_task_id=task.external_task_id,
            fault=task.fault,
        )

    def _contradicting_callback(self, task: Task) -> Callback:
        if task.status == "succeed":
            return self._callback_about(replace(task, status="failed", message="contradicted"))
        return self._callback_about(replace(task, status="succeed", element_id=self.new_id()))

    async def _send_queued(self, queue: CallbackQueue) -> None:
        try:
            while queue.waiting:
                await self._send(queue.waiting.popleft())
                queue.attempted.release()
        finally:
            queue.is_sending = False

    async def _send(self, callback: Callback) -> None:
        await asyncio.sleep(callback.fault.callback_delay)
        answered = await self._attempt(callback)
        for _ in range(callback.fault.duplicate):
            copy_id = str(self.new_id()) if callback.fault.fresh_ids else callback.id
            await self._attempt(replace(callback, id=copy_id))
        if not answered:
            self.background.start(self._retry(callback))

    async def _retry(self, callback: Callback) -> None:
        for wait in self.settings().callback_retries:
            await asyncio.sleep(wait)
            if await self._attempt(callback):
                return

    async def _attempt(self, callback: Callback) -> bool:
        """Post the callback once, and record it; whether it was answered 2xx."""
        timeout = aiohttp.ClientTimeout(total=self.settings().callback_timeout)
        try:
            async with self.session.post(
                callback.url,
                data=callback.body,
                headers=self._headers(callback),
                allow_redirects=False,
                timeout=timeout,
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._record(callback, "failed", type(error).__name__)
            return False
        self._record(callback, "answered", status)
        return 200 <= status < 300  # noqa: PLR2004 — 2xx

    def _headers(self, callback: Callback) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        fault = callback.fault
        if self.key is None or fault.unsigned or not self.settings().sign:
            return headers
        key = secrets.token_bytes(32) if fault.forge else self.key
        timestamp = int(time.time() + fault.skew)
        return headers | webhook_signatures.signature_headers(
            [key], callback.id, timestamp, callback.body
        )

    def _record(self, callback: Callback, outcome: str, answer: int | str | None) -> None:
        self.ledger.add(
            "callbacks",
            outcome,
            id=callback.id,
            task_id=callback.task_id,
            external_task_id=callback.external_task_id,
            status=callback.status,
            url=callback.url,
            sha256=hashlib.sha256(callback.body).hexdigest(),
            answer=answer,
        )
