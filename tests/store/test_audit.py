"""The audit finds each kind of broken promise, and nothing where none is broken."""

import pytest

from service.core.lifecycle import Signal
from service.core.subjects import News
from service.queue import Work
from service.steps.advance import advance
from service.store.audit import MOST, QUESTIONS
from tests.calling import fetch
from tests.conftest import Api
from tests.local.simulating import Receiver

# Each breaks a promise that no constraint can keep; the number is that of QUESTIONS.
BREAKS = {
    0: "DELETE FROM events WHERE sequence = 2",
    1: "UPDATE events SET type = 'subject.succeeded' WHERE sequence = 1",
    2: "UPDATE subjects SET state = 'canceled', finished_at = now(), next_poll_at = NULL",
    3: "DELETE FROM deliveries WHERE sequence = 1",
    4: "UPDATE deliveries SET state = 'pending', finished_at = NULL, due_at = now()"
    " WHERE sequence = 1",
    5: "DELETE FROM attempts",
    6: "UPDATE deliveries SET state = 'dead' WHERE sequence = 2",
    7: "UPDATE deliveries SET state = 'pending', finished_at = NULL WHERE sequence = 1",
}


async def story(api: Api, subscriber: Receiver) -> None:
    """A subject with two events, delivered both."""
    await api.subscribe(subscriber.url)
    await fetch(api.resources, "UPDATE subscribers SET created_at = now() - interval '1 hour'")
    subject = await api.create()
    news = News(Signal.SUBMITTED, provider_task_id="1")
    await advance(api.resources, subject["id"], news)
    for _ in range(2):
        await api.work(Work.DELIVER)
    assert len(subscriber.got) == 2


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
async def test_each_broken_promise_is_found(api: Api, subscriber: Receiver, number: int) -> None:
    await story(api, subscriber)
    assert await api.violations() == []
    await fetch(api.resources, BREAKS[number])
    rules = {(one.promise, one.rule) for one in await api.violations()}
    assert (QUESTIONS[number].promise, QUESTIONS[number].rule) in rules


async def test_of_one_kind_only_so_many_are_shown(api: Api) -> None:
    subject = await api.create()
    await fetch(
        api.resources,
        "INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version,"
        " next_try_at, deadline, created_at, updated_at)"
        " SELECT 'sub_' || n, account_id, fingerprint, document, tags, 'queued', 1,"
        " now(), now(), now(), now() FROM subjects, generate_series(1, $2) n WHERE id = $1",
        subject["id"],
        MOST + 1,
    )
    assert len(await api.violations()) == MOST
