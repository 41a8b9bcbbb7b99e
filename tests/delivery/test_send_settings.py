"""The cache of send settings, and secrets that cannot be decrypted."""

import pytest

from service.delivery.cache import send_settings
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.deliveries import (
    CLOSED_PORT,
    create_subjects,
    deliveries_of,
)
from tests.support.webhook_receiver import webhook_receiver


async def test_a_secret_that_cannot_be_decrypted_is_recorded_as_an_attempt(api: Api) -> None:
    subscription = await api.subscribe(CLOSED_PORT, timeout=1)
    spoilt = "UPDATE subscribers SET secret = decode(repeat('00', 40), 'hex') RETURNING id"
    await fetch(api.resources, spoilt)
    await api.create()
    await api.work(Work.DELIVER)
    (delivery,) = await deliveries_of(api, subscription)
    (attempt,) = delivery["attempts"]
    assert attempt["error"] == "secret: The secret cannot be decrypted: was SECRET_KEY changed?"
    assert delivery["state"] == "pending"
    sql = "SELECT * FROM subscriber_health WHERE failures > 0"
    assert await fetch(api.resources, sql) == [], "the fault is ours"


async def test_more_subscribers_than_are_cached_are_all_sent_to(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_settings, "MAX_CACHED", 1)
    async with webhook_receiver() as receiver:
        for _ in range(4):
            await api.subscribe(receiver.url)
        for _ in range(3):
            await create_subjects(api, 1)
            await api.work(Work.DELIVER)
        assert len(receiver.requests) == 12
