"""GET of a delivery that has not ended, and of a subscriber that is sent nothing, says why."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from service.delivery.steps.deliver import Deliverer
from service.kit.timestamps import format_rfc3339
from service.subjects.domain.why import MENDED_BY, WhyCode
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import CLOSED_PORT, deliveries_of, scripted_subscriber
from tests.support.why import why_of, worker_listening

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
async def worker(api: Api) -> AsyncIterator[None]:
    async with worker_listening(api.resources):
        yield


async def waiting(api: Api, **fields: Any) -> tuple[dict[str, Any], str]:  # noqa: ANN401
    """A subscriber, and the path of a delivery to it that is due."""
    made = await api.subscribe(CLOSED_PORT, **fields)
    await api.create()
    (delivery,) = await deliveries_of(api, made)
    return made, f"/v1/deliveries/{delivery['id']}"


def bounds(clock: Clock, code: WhyCode, since: float, until: float | None) -> dict[str, Any]:
    """A reason without its sentence; its bounds are seconds from now."""
    return {
        "code": code,
        "since": format_rfc3339(clock() + since * SECOND),
        "until": until and format_rfc3339(clock() + until * SECOND),
        "mended_by": MENDED_BY[code],
    }


async def reason(api: Api, path: str) -> dict[str, Any]:
    """Why what is at this path waits, without the sentence, which is there."""
    why = await why_of(api, path)
    assert why.pop("text").endswith(".")
    return why


HOLD = """
    INSERT INTO holds (id, what, reason, created_at) VALUES ('hld_1', 'deliveries', 'repair', $1)
"""
CASES: dict[WhyCode, tuple[str, float, float | None]] = {
    WhyCode.DUE: ("SELECT $1::timestamptz", -5, 1),
    WhyCode.PAUSED: ("UPDATE subscribers SET state = 'paused', state_since = $1", 0, None),
    WhyCode.DISABLED: ("UPDATE subscribers SET state = 'disabled', state_since = $1", 0, None),
    WhyCode.HELD_COPY: (
        "UPDATE installation SET held_reason = 'It went back.', held_since = $1",
        0,
        None,
    ),
    WhyCode.HELD: (HOLD, 0, None),
    WhyCode.CIRCUIT_OPEN: (
        """INSERT INTO subscriber_health
            (subscriber_id, failures, failing_since, circuit_open_until)
            SELECT id, 10, $1, $1::timestamptz + interval '8 s' FROM subscribers""",
        -5,
        8,
    ),
    WhyCode.SLOWED: (
        """INSERT INTO subscriber_health (subscriber_id, rate_limited_until, rate_changed_at)
            SELECT id, $1::timestamptz + interval '30 s', $1 FROM subscribers""",
        -5,
        30,
    ),
    WhyCode.EARLIER_EVENT_FIRST: (
        """UPDATE deliveries SET due_at = NULL, created_at = $1""",
        0,
        None,
    ),
    WhyCode.RETRY_AT: (
        """UPDATE deliveries SET due_at = $1::timestamptz + interval '300 s', created_at = $1""",
        0,
        300,
    ),
}
OF_SUBSCRIBERS = {
    WhyCode.PAUSED,
    WhyCode.DISABLED,
    WhyCode.HELD_COPY,
    WhyCode.HELD,
    WhyCode.CIRCUIT_OPEN,
    WhyCode.SLOWED,
}


@pytest.mark.parametrize("code", CASES)
async def test_a_delivery_and_its_subscriber_say_why_they_wait(
    api: Api, clock: Clock, code: WhyCode
) -> None:
    made, path = await waiting(api)
    clock.advance(5)
    statement, since, until = CASES[code]
    await fetch(api.resources, statement, clock())
    assert await reason(api, path) == bounds(clock, code, since, until)
    subscriber = f"/v1/subscribers/{made['id']}"
    if code in OF_SUBSCRIBERS:
        assert await reason(api, subscriber) == bounds(clock, code, 0, until)
        (listed,) = (await api.http.get("/v1/subscribers")).json()["data"]
        assert listed == (await api.http.get(subscriber)).json()
    else:
        assert "why" not in (await api.http.get(subscriber)).json()


async def test_while_a_worker_sends_it_the_lease_is_what_it_waits_for(
    api: Api, clock: Clock
) -> None:
    _, path = await waiting(api)
    await Deliverer(api.resources).claim(1)
    lease = api.resources.settings.lease
    assert await reason(api, path) == bounds(clock, WhyCode.HELD_LEASE, 0, lease)


async def test_a_failed_attempt_is_told_with_its_number_and_its_reason(api: Api) -> None:
    async with scripted_subscriber(500) as subscriber:
        made = await api.subscribe(subscriber.url, schedule=[60, 60])
        await api.create()
        await api.work(Work.DELIVER)
        (delivery,) = await deliveries_of(api, made)
        why = await why_of(api, f"/v1/deliveries/{delivery['id']}")
        assert (why["code"], why["text"]) == (
            "retry_at",
            "Attempt 1 of 3 failed (status 500): the next attempt is in 60 s.",
        )


async def test_a_later_event_names_the_one_that_goes_first(api: Api, clock: Clock) -> None:
    made, _ = await waiting(api, schedule=[60])
    await api.work(Work.DELIVER)
    await api.work(Work.SUBMIT)
    first, second = (await deliveries_of(api, made))[:2]
    why = await why_of(api, f"/v1/deliveries/{second['id']}")
    assert (why["code"], why["until"]) == ("earlier_event_first", first["next_attempt_at"])
    assert why["text"] == (
        f"Events of a subject go in order: {first['event_id']} first, which is due in 60 s."
    )
    clock.advance(60)
    await api.work(Work.DELIVER)  # the first is dead by that
    assert "why" not in (await api.http.get(f"/v1/deliveries/{first['id']}")).json()
    assert (await why_of(api, f"/v1/deliveries/{second['id']}"))["code"] == "due"
