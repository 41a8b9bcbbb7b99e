"""One message to one subscriber: signed now, sent by whatever it is reached through."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

import orjson

from service.core import cloudevents, signatures
from service.core.subscribing import PLAIN
from service.core.task_records import callback_body
from service.remote.delivery_outcomes import AttemptOutcome
from service.remote.stream_connection import StreamMessage
from service.steps.resources import Resources
from service.steps.send_settings import SendSettings
from service.store import subjects


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """What a subscriber is told. `body` is the exact bytes that are signed and sent; `attempt_id`
    is this attempt's own, `url` where to if that is not the subscriber's."""

    event_id: str
    type: str
    body: bytes
    attempt_id: str
    url: str | None = None


async def send(
    resources: Resources, profile: SendSettings, message: OutgoingMessage, at: datetime
) -> AttemptOutcome:
    """Once, within the subscriber's time-out. Whatever comes of it is a value."""
    if profile.type == "callback":
        message = replace(message, body=await _as_the_provider(resources, message.body))
    content_type = "application/json"
    if profile.format == "cloudevents":
        body = cloudevents.structured(message.event_id, profile.account_id, message.body)
        message, content_type = replace(message, body=body), cloudevents.CONTENT_TYPE
    headers = dict(profile.headers) | _signed(profile, message, at)
    headers |= {"content-type": content_type, "callsheet-attempt": message.attempt_id}
    if profile.channel is not None:
        return await _publish(resources, profile, profile.channel, message, headers)
    return await resources.webhook_sender.post(
        message.url or profile.url,
        headers,
        message.body,
        profile.timeout,
        inward=_goes_inward(resources, profile),
    )


def _goes_inward(resources: Resources, profile: SendSettings) -> bool:
    """Whether it must not leave the allowed networks, as it is not encrypted. callback_urls may be
    http anywhere: the scheme of those who stand for them is their own."""
    return not resources.settings.allow_http and urlsplit(profile.url).scheme in PLAIN


async def _as_the_provider(resources: Resources, event_body: bytes) -> bytes:
    """An event of a subject as the provider's callback. Only one that tells of success has media to
    name, which the event itself has not."""
    shown, subject = orjson.loads(event_body)["data"], None
    if shown["subject"] is not None:
        async with resources.database.glance() as tx:
            subject = await subjects.get(tx, shown["id"])
    return callback_body(shown, subject)


async def _publish(
    resources: Resources,
    profile: SendSettings,
    channel: str,
    message: OutgoingMessage,
    headers: Mapping[str, str],
) -> AttemptOutcome:
    credentials = profile.username, profile.password
    entry = StreamMessage(message.event_id, message.type, headers, message.body)
    return await resources.stream_publisher.publish(
        profile.url, credentials, channel, entry, profile.timeout
    )


def _signed(profile: SendSettings, message: OutgoingMessage, at: datetime) -> dict[str, str]:
    """By every key in force then, so that while a secret rotates either one verifies."""
    keys = profile.keys_at(at)
    secrets, seeds = [one.secret for one in keys], [one.seed for one in keys if one.seed]
    timestamp = int(at.timestamp())
    return signatures.headers(secrets, message.event_id, timestamp, message.body, seeds=seeds)
