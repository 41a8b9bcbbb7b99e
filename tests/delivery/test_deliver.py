"""What becomes of a delivery: delivered, tried again, dead with its reason, or no longer wanted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import delete
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.typing import EventDict

from service.delivery.cache.send_settings import SendSettingsCache
from service.delivery.steps.deliver import Deliverer
from service.job_queue import Work
from service.schema.subscribers import subscribers
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from service.subscribers.steps import manage
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.http_server import http_server
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver

SCHEDULE = (5.0, 300.0)
LEASE = 30.0  # seconds; as it is if nothing is set


@dataclass
class Backend:
    """A subscriber that answers as it is told; the next request as soon as `gate` opens, if it is
    shut."""

    answer: Callable[[], Response]
    url: str = ""
    got: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None

    def answer_with(self, status: int) -> None:
        self.answer = lambda: Response(status_code=status)

    async def take(self, request: Request) -> Response:
        self.got.append(request.headers["webhook-id"])
        answer, gate, self.gate = self.answer, self.gate, None
        if gate is not None:
            await gate.wait()
        return answer()


@asynccontextmanager
async def backend(status: int, **headers: str) -> AsyncIterator[Backend]:
    one = Backend(lambda: Response("no" * 9, status, headers))
    app = Starlette(routes=[Route("/hook", one.take, methods=["POST"])])
    async with http_server(app) as address:
        one.url = f"{address}/hook"
        yield one


def scheduled(api: Api) -> Api:
    """The same with a short schedule."""
    resources = api.resources
    settings = replace(resources.settings, delivery_schedule=SCHEDULE)
    cache = SendSettingsCache(settings, resources.encryptor)
    return replace(api, resources=replace(resources, settings=settings, send_settings=cache))


async def submitted(api: Api, subject_id: str) -> None:
    news = StatusUpdate(Signal.SUBMITTED, provider_task_id=subject_id)
    await transition(api.resources, subject_id, news)


async def listed(api: Api, subscriber: dict[str, Any]) -> list[dict[str, Any]]:
    """The subscriber's deliveries, each subject's in sequence."""
    page = await api.http.get(f"/v1/subscribers/{subscriber['id']}/deliveries")
    return sorted(page.json()["data"], key=lambda one: str(one["event_id"]))


async def test_a_delivery_is_tried_by_the_schedule_and_then_dead_with_its_reasons(
    api: Api, clock: Clock
) -> None:
    api = scheduled(api)
    async with backend(500) as refusing:
        made = await api.subscribe(refusing.url)
        subject = await api.create()
        await submitted(api, subject["id"])
        for wait in (0.0, *SCHEDULE):
            clock.advance(wait - 0.1)
            await api.work(Work.DELIVER)
            clock.advance(0.1)
            await api.work(Work.DELIVER)
        first, second = await listed(api, made)
        assert first["state"] == "dead"
        assert [attempt["error"] for attempt in first["attempts"]] == ["status 500"] * 3
        assert first["next_attempt_at"] is None
        assert second["next_attempt_at"] is not None, "after a dead one the next goes on"
        assert len(set(refusing.got[:3])) == 1, "each attempt bears the same id"
    assert await api.violations() == []


async def test_a_retry_after_puts_the_next_attempt_off(api: Api, clock: Clock) -> None:
    api = scheduled(api)
    async with backend(429, **{"retry-after": "100"}) as busy:
        await api.subscribe(busy.url)
        await api.create()
        await api.work(Work.DELIVER)
        clock.advance(99)
        await api.work(Work.DELIVER)
        assert len(busy.got) == 1
        clock.advance(1)
        await api.work(Work.DELIVER)
        assert len(busy.got) == 2


async def test_a_retry_after_beside_another_failure_says_nothing(api: Api, clock: Clock) -> None:
    api = scheduled(api)
    async with backend(500, **{"retry-after": "100"}) as broken:
        await api.subscribe(broken.url)
        await api.create()
        await api.work(Work.DELIVER)
        clock.advance(5)
        await api.work(Work.DELIVER)
        assert len(broken.got) == 2


async def test_an_answer_that_never_comes_is_an_attempt_too(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:65009/nobody")
    await api.create()
    await api.work(Work.DELIVER)
    (delivery,) = await listed(api, made)
    (attempt,) = delivery["attempts"]
    assert (attempt["status"], attempt["error"].partition(":")[0]) == (None, "connect")
    assert (delivery["state"], attempt["latency_ms"] >= 0) == ("pending", True)


async def test_gone_disables_the_subscriber_and_cancels_what_waits(
    api: Api, subscriber: WebhookReceiver
) -> None:
    async with backend(410) as gone:
        made, other = await api.subscribe(gone.url), await api.subscribe(subscriber.url)
        subject = await api.create()
        await submitted(api, subject["id"])
        await api.work(Work.DELIVER)
        shown = (await api.http.get(f"/v1/subscribers/{made['id']}")).json()
        assert (shown["state"], shown["disabled_reason"]) == ("disabled", "it answered 410 Gone")
        assert [delivery["state"] for delivery in await listed(api, made)] == ["dead", "canceled"]
        await api.create()
        await api.work(Work.DELIVER)
        assert len(gone.got) == 1
    assert {delivery["state"] for delivery in await listed(api, other)} == {"delivered"}
    assert await api.violations() == []


async def test_the_log_names_the_subject_of_an_event_that_has_one(
    api: Api, subscriber: WebhookReceiver, logged: list[EventDict]
) -> None:
    await api.subscribe(subscriber.url)
    async with backend(410) as gone:
        await api.subscribe(gone.url)
        subject = await api.create()
        await api.work(Work.DELIVER)
    await api.work(Work.DELIVER)
    attempts = [line for line in logged if line.get("action") == "delivery_attempted"]
    assert {(line["type"], line["subject"]) for line in attempts} == {
        ("subject.queued", subject["id"]),
        ("callsheet.subscriber.disabled", None),
    }


async def test_many_who_hear_gone_at_once_do_not_lock_each_other_out(
    api: Api, logged: list[EventDict]
) -> None:
    async with backend(410) as gone:
        made = await api.subscribe(gone.url)
        for _ in range(12):
            await api.create()
        await api.work(Work.DELIVER)
        states = {delivery["state"] for delivery in await listed(api, made)}
    assert states <= {"dead", "canceled"}
    assert [line for line in logged if line.get("action") == "unrecorded"] == []


async def test_a_result_that_comes_after_the_lease_is_fenced_off(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    ours, theirs = Deliverer(api.resources), Deliverer(api.resources)
    async with backend(500) as slow:
        made = await api.subscribe(slow.url)
        await api.create()
        (stale,) = await ours.claim(10)
        slow.gate = gate = asyncio.Event()
        late = asyncio.create_task(ours.deliver(stale))
        await wait_until(lambda: len(slow.got) == 1)
        clock.advance(LEASE)
        slow.answer = Response
        (fresh,) = await theirs.claim(10)
        await theirs.deliver(fresh)
        gate.set()
        await late
        assert len(slow.got) == 2, "at least once"
    (delivery,) = await listed(api, made)
    assert (delivery["state"], len(delivery["attempts"])) == ("delivered", 1)
    attempts = [line for line in logged if line.get("action") == "delivery_attempted"]
    assert [(line["status"], line["fenced"]) for line in attempts] == [(200, False), (500, True)]


async def test_a_worker_that_was_stopped_after_its_claim_does_not_send(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    deliverer = Deliverer(api.resources)
    await api.subscribe(subscriber.url)
    await api.create()
    (stale,) = await deliverer.claim(10)
    clock.advance(LEASE)
    await deliverer.deliver(stale)
    assert subscriber.requests == []
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 1


async def test_a_subscriber_removed_while_it_is_written_to_harms_nobody(
    api: Api, subscriber: WebhookReceiver
) -> None:
    deliverer = Deliverer(api.resources)
    made = await api.subscribe(subscriber.url)
    await api.create()
    (claimed,) = await deliverer.claim(10)
    account = (await fetch(api.resources, "SELECT account_id FROM subscribers"))[0]["account_id"]
    await manage.delete(api.resources, account, made["id"])
    await deliverer.deliver(claimed)
    assert await fetch(api.resources, "SELECT * FROM deliveries") == []
    assert await fetch(api.resources, "SELECT * FROM attempts") == []


async def test_a_subscriber_removed_while_an_event_is_written_harms_nobody(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:65009")
    resources = api.resources
    async with resources.database.transaction() as tx:
        await tx.execute(delete(subscribers).where(subscribers.c.id == made["id"]))
        creating = asyncio.create_task(api.create())
        await wait_until_blocked(resources)
    assert (await creating)["state"] == "queued"
    assert await fetch(resources, "SELECT * FROM deliveries") == []
