"""Hidden subscribers of requests' own callback_urls: one for each account and origin, created on
demand."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from service.kit.crypto import webhook_signatures
from service.kit.crypto.encryption import encryption_context
from service.kit.database.connection import Connection
from service.kit.network.url_policy import DEFAULT_PORTS
from service.resources import Resources
from service.subscribers.steps.rotate import ensure_callback_url_secret
from service.subscribers.store import callback_url_subscribers
from service.subscribers.store.callback_url_subscribers import AccountOrigin, NewSubscriber


async def ensure_callback_url_subscribers(
    tx: Connection, resources: Resources, origins: Sequence[AccountOrigin]
) -> dict[AccountOrigin, str]:
    """The subscriber's id of each account and origin, which come sorted. A missing subscriber is
    created in this transaction, and so is its account's secret for callback_urls."""
    ids = await callback_url_subscribers.subscriber_ids(tx, origins) if origins else {}
    missing = [account_origin for account_origin in origins if account_origin not in ids]
    if not missing:
        return ids
    for account_id in sorted({account_id for account_id, _ in missing}):
        await ensure_callback_url_secret(tx, resources, account_id)
    new_subscribers = [
        _new_subscriber(resources, account_id, origin) for account_id, origin in missing
    ]
    return ids | await callback_url_subscribers.add_subscribers(
        tx, new_subscribers, resources.clock()
    )


def _new_subscriber(resources: Resources, account_id: str, origin: str) -> NewSubscriber:
    id_ = resources.new_id("sbr")
    secret = resources.random_bytes(webhook_signatures.NEW_SECRET_BYTES)
    encrypted = resources.encryptor.encrypt(secret, encryption_context(id_))
    return NewSubscriber(id_, account_id, origin, encrypted)


def origin_of(url: str) -> str:
    """A callback_url's origin as `callback://host:port`: nothing can be sent by that scheme."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    host = (parts.hostname or "").removesuffix(".")
    return f"callback://[{host}]:{port}" if ":" in host else f"callback://{host}:{port}"
