"""Sending one message to one subscriber: signed now, by HTTP or to a stream."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

import orjson

from service.delivery.domain import cloudevents
from service.delivery.domain.send_settings import SendSettings
from service.delivery.remote.outcomes import SendOutcome
from service.delivery.remote.stream_connection import StreamMessage
from service.kit.crypto import webhook_signatures
from service.provider.domain.task_records import callback_body
from service.resources import Resources
from service.subjects.store import subjects
from service.subscribers.domain.subscriber import Format, SubscriberType
from service.subscribers.domain.subscriber_rules import PLAIN


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """An event on its way to one subscriber."""

    event_id: str
    type: str
    body: bytes
    """The exact bytes that are signed and sent."""
    attempt_id: str
    url: str | None = None
    """Where it goes; None if that is the subscriber's URL."""


async def send(
    resources: Resources, settings: SendSettings, message: OutgoingMessage, at: datetime
) -> SendOutcome:
    """Sign and send a message once, within the subscriber's time-out. `at` is the time of the
    signature. Whatever comes of it is a value."""
    if settings.type is SubscriberType.CALLBACK:
        message = replace(message, body=await _as_the_provider(resources, message.body))
    content_type = "application/json"
    if settings.format is Format.CLOUDEVENTS:
        body = cloudevents.structured(message.event_id, settings.account_id, message.body)
        message, content_type = replace(message, body=body), cloudevents.CONTENT_TYPE
    headers = dict(settings.headers) | _signed(settings, message, at)
    headers |= {"content-type": content_type, "callsheet-attempt": message.attempt_id}
    if settings.channel is not None:
        return await _publish(resources, settings, settings.channel, message, headers)
    return await resources.webhook_sender.post(
        message.url or settings.url,
        headers,
        message.body,
        settings.timeout,
        inward=_goes_inward(resources, settings),
    )


def _goes_inward(resources: Resources, settings: SendSettings) -> bool:
    """Whether it must not leave the allowed networks, as it is not encrypted. callback_urls may be
    http anywhere: the scheme of those who stand for them is their own."""
    return not resources.settings.allow_http and urlsplit(settings.url).scheme in PLAIN


async def _as_the_provider(resources: Resources, event_body: bytes) -> bytes:
    """An event of a subject as the provider's callback. Only one that tells of success has media to
    name, which the event itself has not."""
    shown, subject = orjson.loads(event_body)["data"], None
    if shown["subject"] is not None:
        async with resources.database.autocommit() as tx:
            subject = await subjects.get(tx, shown["id"])
    return callback_body(shown, subject)


async def _publish(
    resources: Resources,
    settings: SendSettings,
    channel: str,
    message: OutgoingMessage,
    headers: Mapping[str, str],
) -> SendOutcome:
    credentials = settings.username, settings.password
    published = StreamMessage(message.event_id, message.type, headers, message.body)
    return await resources.stream_publisher.publish(
        settings.url, credentials, channel, published, settings.timeout
    )


def _signed(settings: SendSettings, message: OutgoingMessage, at: datetime) -> dict[str, str]:
    """The signature headers: by every key in force then, so that while a secret rotates either one
    verifies."""
    keys = settings.keys_at(at)
    secrets, seeds = [key.secret for key in keys], [key.seed for key in keys if key.seed]
    timestamp = int(at.timestamp())
    return webhook_signatures.signature_headers(
        secrets, message.event_id, timestamp, message.body, seeds=seeds
    )
