"""Testing a subscriber: one signed event is sent to it as all others are, and kept nowhere."""

from dataclasses import dataclass

from service.delivery.domain.send_settings import SendSettings
from service.delivery.remote.outcomes import Failed, SendOutcome
from service.delivery.steps.send import OutgoingMessage, send
from service.kit.errors import Unavailable
from service.kit.text import escape_unprintable
from service.resources import Resources
from service.subjects.domain.event import event_body
from service.subscribers.steps.read import get_subscriber

TEST_EVENT_TYPE = "callsheet.test"
MAX_TESTS = 4  # at once, in one process: enough for people, too few for a flood
MAX_TESTS_PER_ACCOUNT = 2  # of them; a test may take half a minute, and leaves slots to the others


@dataclass(frozen=True, slots=True)
class TestResult:
    """What came of a test."""

    event_id: str
    delivered: bool
    status: int | None
    """The HTTP status; None if there was none."""
    latency: float
    """Seconds."""
    error: str | None
    """Why it failed, in words; None if it was delivered."""
    answer: str | None
    """What came back, safe to show; None if nothing did."""


async def send_test(resources: Resources, account_id: str, subscriber_id: str) -> TestResult:
    """Make one attempt, whatever the subscriber's state. NotFound if the account has no such
    subscriber, Unavailable where too many are under way, of all or of this account."""
    settings = await _settings(resources, account_id, subscriber_id)
    now = resources.clock()
    body = event_body(TEST_EVENT_TYPE, now, {"subscriber_id": subscriber_id})
    message = OutgoingMessage(
        resources.new_id("evt_test"), TEST_EVENT_TYPE, body, resources.new_id("att")
    )
    with resources.test_slots.slot(account_id):
        return _test_result(message.event_id, await send(resources, settings, message, now))


async def _settings(resources: Resources, account_id: str, subscriber_id: str) -> SendSettings:
    subscriber = await get_subscriber(resources, account_id, subscriber_id)
    versions = {subscriber_id: subscriber.version}
    known = await resources.send_settings.get_many(resources.database, versions, resources.clock())
    if subscriber_id in known:
        return known[subscriber_id]
    await get_subscriber(
        resources, account_id, subscriber_id
    )  # else it has just been removed: NotFound
    raise Unavailable("The subscriber's secrets cannot be opened: was SECRET_KEY changed?")


def _test_result(event_id: str, outcome: SendOutcome) -> TestResult:
    answer = None if isinstance(outcome, Failed) else escape_unprintable(outcome.body)
    return TestResult(
        event_id, outcome.delivered, outcome.status, outcome.latency, outcome.error, answer
    )
