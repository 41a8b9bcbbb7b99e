"""Subscribers as their account sees them."""

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
    """A subscriber; its headers without secrets (None: they cannot be opened); the public keys it
    may find signatures of, the current one first."""

    subscriber: Subscriber
    headers: Mapping[str, str] | None
    public_keys: tuple[bytes, ...]


async def get_subscriber(resources: Resources, account_id: str, subscriber_id: str) -> Subscriber:
    """NotFound if the account has no such subscriber."""
    async with resources.database.autocommit() as tx:
        one = await subscribers.get(tx, account_id, subscriber_id)
    if one is None:
        raise NotFound
    return one


async def get_view(resources: Resources, account_id: str, subscriber_id: str) -> SubscriberView:
    """The same, as it is shown."""
    return await view(resources, await get_subscriber(resources, account_id, subscriber_id))


async def page(
    resources: Resources, account_id: str | None, below: str | None, limit: int
) -> tuple[list[SubscriberView], bool]:
    """An account's, or every account's, the newest first, and whether there are more."""
    async with resources.database.autocommit() as tx:
        listed = await subscribers.page(tx, account_id, below=below, limit=limit + 1)
    return await _views(resources, listed[:limit]), len(listed) > limit


async def view(resources: Resources, subscriber: Subscriber) -> SubscriberView:
    (one,) = await _views(resources, [subscriber])
    return one


async def _views(resources: Resources, listed: Sequence[Subscriber]) -> list[SubscriberView]:
    signing = [one.id for one in listed if "v1a" in one.signatures]
    retired: dict[str, list[bytes]] = {}
    if signing:
        async with resources.database.autocommit() as tx:
            retired = await signing_keys.previous_public_keys(tx, signing, resources.clock())
    return [_view(resources, one, retired.get(one.id, [])) for one in listed]


def _view(resources: Resources, subscriber: Subscriber, retired: Sequence[bytes]) -> SubscriberView:
    headers = decrypt_texts(resources, subscriber, "headers")
    current = subscriber.public_key
    in_force = (current, *retired) if current and "v1a" in subscriber.signatures else ()
    return SubscriberView(subscriber, None if headers is None else mask_secrets(headers), in_force)


def decrypt_texts(
    resources: Resources, subscriber: Subscriber, what: Literal["headers", "credentials"]
) -> dict[str, str] | None:
    """What is sealed as JSON, opened: texts by name; None if it cannot be opened."""
    sealed = subscriber.headers if what == "headers" else subscriber.credentials
    if sealed is None:
        return {}
    try:
        opened = resources.encryptor.decrypt(sealed, encryption_context(subscriber.id, what))
    except DecryptionError as error:
        log.warning("subscribed", action="secret_sealed", what=what, error=str(error))
        return None
    read: dict[str, str] = orjson.loads(opened)
    return read
