"""Reading subscribers as their account sees them, without secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
import structlog

from service.kit.crypto.encryption import DecryptionError, encryption_context
from service.kit.errors import NotFound
from service.resources import Resources
from service.subscribers.domain.custom_headers import mask_secrets
from service.subscribers.store import signing_keys, subscribers
from service.subscribers.store.subscribers import Subscriber

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SubscriberView:
    """A subscriber as its account may see it."""

    subscriber: Subscriber  # the stored row, with its encrypted fields
    headers: Mapping[str, str] | None  # secrets masked; None: they cannot be decrypted
    public_keys: tuple[bytes, ...]  # that verify its v1a signatures, the one in force first


async def get_subscriber(resources: Resources, account_id: str, subscriber_id: str) -> Subscriber:
    """An account's subscriber. NotFound if it has none of this id."""
    async with resources.database.autocommit() as tx:
        subscriber = await subscribers.get(tx, account_id, subscriber_id)
    if subscriber is None:
        raise NotFound
    return subscriber


async def page(
    resources: Resources, account_id: str | None, after: str | None, limit: int
) -> tuple[list[SubscriberView], bool]:
    """At most `limit` subscribers of an account (None: of every account), the newest first, from
    behind the id `after` on (None: from the first); and whether there are more."""
    async with resources.database.autocommit() as tx:
        rows = await subscribers.page(tx, account_id, after=after, limit=limit + 1)
    return await _views(resources, rows[:limit]), len(rows) > limit


async def view(resources: Resources, subscriber: Subscriber) -> SubscriberView:
    """A subscriber as it may be shown."""
    (subscriber_view,) = await _views(resources, [subscriber])
    return subscriber_view


async def _views(resources: Resources, rows: Sequence[Subscriber]) -> list[SubscriberView]:
    previous: dict[str, list[bytes]] = {}
    if ids := [subscriber.id for subscriber in rows if "v1a" in subscriber.signatures]:
        async with resources.database.autocommit() as tx:
            previous = await signing_keys.previous_public_keys(tx, ids, resources.clock())
    return [_view(resources, subscriber, previous.get(subscriber.id, [])) for subscriber in rows]


def _view(
    resources: Resources, subscriber: Subscriber, previous: Sequence[bytes]
) -> SubscriberView:
    headers = decrypt_texts(resources, subscriber, "headers")
    current = subscriber.public_key
    public_keys = (current, *previous) if current and "v1a" in subscriber.signatures else ()
    masked = None if headers is None else mask_secrets(headers)
    return SubscriberView(subscriber, masked, public_keys)


def decrypt_texts(
    resources: Resources, subscriber: Subscriber, column: Literal["headers", "credentials"]
) -> dict[str, str] | None:
    """A subscriber's custom headers, or its credentials, by name; None if they cannot be
    decrypted."""
    encrypted = subscriber.headers if column == "headers" else subscriber.credentials
    if encrypted is None:
        return {}
    try:
        context = encryption_context(subscriber.id, column)
        decrypted = resources.encryptor.decrypt(encrypted, context)
    except DecryptionError as error:
        log.warning("subscribers", action="secret_unreadable", what=column, error=str(error))
        return None
    texts: dict[str, str] = orjson.loads(decrypted)
    return texts
