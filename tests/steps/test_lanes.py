"""Each subscriber has a lane of its own, and comes and goes without harm to the others."""

import asyncio

from service.queue import Work
from service.steps.deliver import LANES
from service.worker import make_drains
from tests.calling import fetch
from tests.conftest import Api
from tests.local.simulating import Receiver, until
from tests.remote.listening import listening, silent


async def test_a_subscriber_that_hangs_holds_only_its_own_lane(
    api: Api, subscriber: Receiver
) -> None:
    async with listening(silent) as hanging:
        silent_one = await api.subscribe(hanging)
        await api.subscribe(subscriber.url)
        subjects = api.resources.settings.delivery_parallel + 1
        for number in range(subjects):
            await api.create(name=f"{number}")
        drain = make_drains(api.resources)[Work.DELIVER]
        running = asyncio.create_task(drain.run(tick=60))
        try:
            await until(lambda: len(subscriber.got) == subjects)
            leased = "SELECT id FROM deliveries WHERE lease_token <> '' AND subscriber_id = $1"
            rows = await fetch(api.resources, leased, silent_one["id"])
            assert len(rows) == api.resources.settings.delivery_parallel // LANES
        finally:
            drain.stop()
            running.cancel()
            await drain.finish(0)


async def test_subjects_are_accepted_while_subscribers_are_deleted(api: Api) -> None:
    async def come_and_go() -> None:
        for _ in range(8):
            made = await api.subscribe("http://127.0.0.1:9/")
            answer = await api.http.delete(f"/v1/subscribers/{made['id']}")
            assert answer.status_code == 204

    async def create(stem: int) -> None:
        for number in range(10):
            await api.create(name=f"{stem} {number}")

    await asyncio.gather(come_and_go(), come_and_go(), *(create(stem) for stem in range(3)))
    assert await api.violations() == []


async def test_a_secret_that_cannot_be_opened_is_an_attempt_with_its_reason(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/")
    spoilt = "UPDATE subscribers SET secret = decode(repeat('00', 40), 'hex') RETURNING id"
    await fetch(api.resources, spoilt)
    await api.create()
    await api.work(Work.DELIVER)
    page = (await api.http.get(f"/v1/subscribers/{made['id']}/deliveries")).json()
    (attempt,) = page["data"][0]["attempts"]
    assert attempt["error"] == "secret: The secret cannot be opened: was SECRET_KEY changed?"
    assert page["data"][0]["state"] == "pending"
