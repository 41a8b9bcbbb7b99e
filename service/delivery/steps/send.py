"""Sending a message to a subscriber: signed by Standard Webhooks, over HTTP or to a stream."""

from datetime import datetime
from urllib.parse import urlsplit

import orjson
from msgspec import Struct
from msgspec.structs import replace

from service.delivery.domain import cloudevents
from service.delivery.domain.send_settings import SendSettings
from service.delivery.remote.outcomes import SendOutcome
from service.delivery.remote.stream_connection import StreamMessage
from service.kit.crypto import webhook_signatures
from service.provider.domain.task_records import callback_body
from service.resources import Resources
from service.subjects.store import subjects
from service.subscribers.domain.subscriber import Format, SubscriberType
from service.subscribers.domain.subscriber_rules import UNENCRYPTED_SCHEMES


class OutgoingMessage(Struct, frozen=True):
    """An event on its way to one subscriber."""

    event_id: str  # goes out in the header webhook-id
    type: str  # the event's
    body: bytes  # the exact bytes that are signed and sent
    attempt_id: str  # of this attempt; goes out in the header callsheet-attempt
    url: str | None = None  # where it goes; None if that is the subscriber's URL


async def send(
    resources: Resources, settings: SendSettings, message: OutgoingMessage, at: datetime
) -> SendOutcome:
    """Sign and send a message once, within the subscriber's time-out. `at` is the time of the
    signature. Whatever comes of it is a value."""
    if settings.type is SubscriberType.CALLBACK:
        message = replace(message, body=await _provider_callback(resources, message.body))
    content_type = "application/json"
    if settings.format is Format.CLOUDEVENTS:
        body = cloudevents.structured(message.event_id, settings.account_id, message.body)
        message, content_type = replace(message, body=body), cloudevents.CONTENT_TYPE
    headers = dict(settings.headers) | _signature_headers(settings, message, at)
    headers |= {"content-type": content_type, "callsheet-attempt": message.attempt_id}
    if settings.channel is None:
        return await resources.webhook_sender.post(
            message.url or settings.url,
            headers,
            message.body,
            settings.timeout,
            only_allowed_networks=_only_allowed_networks(resources, settings),
        )
    return await resources.stream_publisher.publish(
        settings.url,
        (settings.username, settings.password),
        settings.channel,
        StreamMessage(message.event_id, message.type, headers, message.body),
        settings.timeout,
    )


def _only_allowed_networks(resources: Resources, settings: SendSettings) -> bool:
    """Whether the message must not leave the allowed networks, as it is not encrypted. A request's
    callback_url may be http anywhere: it is not the URL of the subscriber that stands for it."""
    unencrypted = urlsplit(settings.url).scheme in UNENCRYPTED_SCHEMES
    return unencrypted and not resources.settings.allow_http


async def _provider_callback(resources: Resources, event_body: bytes) -> bytes:
    """An event of a subject in the shape of the provider's callback. Only one of success has media
    to name, which the event itself has not."""
    data, subject = orjson.loads(event_body)["data"], None
    if data["subject"] is not None:
        async with resources.database.autocommit() as tx:
            subject = await subjects.get(tx, data["id"])
    return callback_body(data, subject)


def _signature_headers(
    settings: SendSettings, message: OutgoingMessage, at: datetime
) -> dict[str, str]:
    """The headers of Standard Webhooks, signed by every key in force at that time: while a secret
    rotates, either one verifies."""
    keys = settings.keys_at(at)
    secrets, seeds = [key.secret for key in keys], [key.seed for key in keys if key.seed]
    timestamp = int(at.timestamp())
    return webhook_signatures.signature_headers(
        secrets, message.event_id, timestamp, message.body, seeds=seeds
    )
