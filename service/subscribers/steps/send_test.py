"""Testing a subscriber: one signed event is sent to it as every event is, and stored nowhere."""

from dataclasses import dataclass
from datetime import datetime

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.delivery.domain.send_settings import SendSettings
from service.delivery.remote.outcomes import Failed
from service.delivery.steps.send import OutgoingMessage, send
from service.installation.store import installation
from service.kit.errors import Conflict, Unavailable
from service.kit.text import escape_unprintable
from service.operations.domain.hold import HoldTarget
from service.operations.store import holds
from service.resources import Resources
from service.subjects.domain.event import event_body
from service.subscribers.steps.read import get_subscriber

TEST_EVENT_TYPE = "callsheet.test"
MAX_TESTS = 4  # at a time, in one process: enough for people, too few for a flood
MAX_TESTS_PER_ACCOUNT = 2  # of those; a test may take half a minute


@dataclass(frozen=True, slots=True)
class TestResult:
    """The outcome of sending a test event."""

    event_id: str  # evt_test…; no such event is stored
    delivered: bool  # whether the subscriber took it
    status: int | None  # of the HTTP response; None: there was none
    latency: float  # seconds
    error: str | None  # why it failed, as a sentence; None: it was delivered
    answer: str | None  # the start of the response's body, safe to show; None: there was none


async def send_test(
    resources: Resources, account_id: str, subscriber_id: str, actor: Actor | None = None
) -> TestResult:
    """Make one attempt to send a test event, whatever the subscriber's state.

    `actor`: who does it, for the action log; None: a caller does. NotFound if the account has no
    such subscriber; Conflict while its deliveries are held, or the installation is, since nothing
    is sent then; Unavailable
    if too many tests are under way, in all or of this account, or if the subscriber's secrets
    cannot be decrypted.
    """
    settings = await _send_settings(resources, account_id, subscriber_id)
    now = resources.clock()
    await _refuse_if_held(resources, account_id, now)
    event_id, attempt_id = resources.new_id("evt_test"), resources.new_id("att")
    body = event_body(TEST_EVENT_TYPE, now, {"subscriber_id": subscriber_id})
    message = OutgoingMessage(event_id, TEST_EVENT_TYPE, body, attempt_id)
    action = Action(ActionKind.SUBSCRIBER_TESTED, subscriber_id, account_id)
    with resources.test_slots.slot(account_id):
        await action_log.record_alone(resources, actor, action)
        outcome = await send(resources, settings, message, now)
    answer = None if isinstance(outcome, Failed) else escape_unprintable(outcome.body)
    return TestResult(
        event_id, outcome.delivered, outcome.status, outcome.latency, outcome.error, answer
    )


async def _refuse_if_held(resources: Resources, account_id: str, now: datetime) -> None:
    async with resources.database.autocommit() as tx:
        at_home = await installation.at_home(tx, resources.home.fence)
        in_force = await holds.in_force(tx, now)
    if not at_home:
        raise Conflict(
            "This database is a copy, or was restored: nothing is sent until an operator says what "
            "it is.",
            "installation_held",
        )
    if any(hold.stops(HoldTarget.DELIVERIES, account_id) for hold in in_force):
        raise Conflict("An operator holds deliveries: nothing is sent now.", "deliveries_held")


async def _send_settings(resources: Resources, account_id: str, subscriber_id: str) -> SendSettings:
    subscriber = await get_subscriber(resources, account_id, subscriber_id)
    versions = {subscriber_id: subscriber.version}
    cache, now = resources.send_settings, resources.clock()
    settings = (await cache.get_many(resources.database, versions, now)).get(subscriber_id)
    if settings is None:
        await get_subscriber(resources, account_id, subscriber_id)  # NotFound if just deleted
        raise Unavailable("The subscriber's secrets cannot be decrypted: was SECRET_KEY changed?")
    return settings
