"""Callbacks out: signed, tried again, and spoilt where a fault says so."""

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
    """One message: its bytes and its id stay the same however often it is tried."""

    url: str
    id: str
    body: bytes
    status: str
    task_id: str
    external_task_id: str = ""
    fault: Fault = NO_FAULT


@dataclass(slots=True)
class CallbackQueue:
    """One task's callbacks, first attempts one after the other; `tried` counts those."""

    waiting: deque[Callback] = field(default_factory=deque)
    held: list[Callback] = field(default_factory=list)
    is_sending: bool = False
    attempted: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))


@dataclass(slots=True)
class CallbackSender:
    """Sends the callbacks of all tasks; `settings` is asked anew for each."""

    session: aiohttp.ClientSession
    background: Background
    ledger: Ledger
    key: bytes | None
    settings: Callable[[], Settings]
    new_id: Callable[[], int]
    lost_share_due: float = 0.0  # of the next callback to lose, by `lose_share`

    def enqueue(self, line: CallbackQueue, task: Task) -> None:
        """The task has a new status: call back about it, unless a fault loses or holds it."""
        if not task.callback_url:
            return
        callback, lost = self._callback_about(task), self._is_lost(task)
        if lost:
            self._record(callback, "lost", None)
            line.attempted.release()
        elif task.fault.reorder and not task.is_finished:
            line.held.append(callback)
        else:
            line.waiting.append(callback)
        if task.is_finished:
            line.waiting.extend(reversed(line.held))
            line.held.clear()
            if task.fault.contradict and not lost:
                line.waiting.append(self._contradicting_callback(task))
        if not line.is_sending:
            line.is_sending = True
            self.background.start(self._send_queued(line))

    def send_test(self, url: str) -> None:
        """The console's test button: a signed one about a task that never was (rule P76)."""
        now = time.time_ns() // 1_000_000
        task = Task(str(self.new_id()), {"callback_url": url}, now, now, Fault(shape="newer"))
        self.background.start(self._send(self._callback_about(task)))

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

    async def _send_queued(self, line: CallbackQueue) -> None:
        try:
            while line.waiting:
                await self._send(line.waiting.popleft())
                line.attempted.release()
        finally:
            line.is_sending = False

    async def _send(self, callback: Callback) -> None:
        await asyncio.sleep(callback.fault.callback_delay)
        answered = await self._attempt(callback)
        for _ in range(callback.fault.duplicate):
            fresh = str(self.new_id()) if callback.fault.fresh_ids else callback.id
            await self._attempt(replace(callback, id=fresh))
        if not answered:
            self.background.start(self._retry(callback))

    async def _retry(self, callback: Callback) -> None:
        for wait in self.settings().callback_retries:
            await asyncio.sleep(wait)
            if await self._attempt(callback):
                return

    async def _attempt(self, callback: Callback) -> bool:
        """Whether it was answered 2xx."""
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
