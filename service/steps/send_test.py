"""A subscriber tried out: one signed event, by the way that all others go, kept nowhere."""

from dataclasses import dataclass
from typing import assert_never

import orjson

from service.core.errors import Unavailable
from service.core.escaping import escaped
from service.core.subjects import rfc3339
from service.remote.delivery_outcomes import Answered, AttemptOutcome, Failed, Published
from service.steps.resources import Resources
from service.steps.send import OutgoingMessage, send
from service.steps.send_settings import SendSettings
from service.steps.subscribed import found

TYPE = "callsheet.test"
SUCCESS = range(200, 300)  # RFC 9110, section 15.3


@dataclass(frozen=True, slots=True)
class TestResult:
    """What came back. `status` and `answer` are None where nothing did; `answer` is safe to
    show; `latency` is in seconds."""

    event_id: str
    delivered: bool
    status: int | None
    latency: float
    error: str | None
    answer: str | None


async def send_test(resources: Resources, account_id: str, subscriber_id: str) -> TestResult:
    """One attempt, whatever the subscriber's state. NotFound if the account has no such
    subscriber, Unavailable where too many are under way, of all or of this account."""
    profile = await _profile(resources, account_id, subscriber_id)
    now = resources.clock()
    data = {"subscriber_id": subscriber_id}
    body = orjson.dumps({"type": TYPE, "timestamp": rfc3339(now), "data": data})
    message = OutgoingMessage(resources.new_id("evt_test"), TYPE, body, resources.new_id("att"))
    with resources.test_slots.slot(account_id):
        return _told(message.event_id, await send(resources, profile, message, now))


async def _profile(resources: Resources, account_id: str, subscriber_id: str) -> SendSettings:
    subscriber = await found(resources, account_id, subscriber_id)
    wanted = {subscriber_id: subscriber.version}
    known = await resources.send_settings.known(resources.database, wanted, resources.clock())
    if subscriber_id in known:
        return known[subscriber_id]
    await found(resources, account_id, subscriber_id)  # else it has just been removed: NotFound
    raise Unavailable("The subscriber's secrets cannot be opened: was SECRET_KEY changed?")


def _told(event_id: str, attempt: AttemptOutcome) -> TestResult:
    match attempt:
        case Answered(status=status, body=body):
            delivered = status in SUCCESS
            error = None if delivered else f"status {status}"
            return TestResult(event_id, delivered, status, attempt.latency, error, escaped(body))
        case Published(receipt=receipt):
            return TestResult(event_id, True, None, attempt.latency, None, escaped(receipt))  # noqa: FBT003 - delivered
        case Failed(reason=reason, detail=detail):
            error = f"{reason}: {detail}"
            return TestResult(event_id, False, None, attempt.latency, error, None)  # noqa: FBT003 - likewise
        case _:
            assert_never(attempt)
