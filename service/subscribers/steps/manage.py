"""Subscribers come, change and go."""

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from service.delivery.store import subscriber_health
from service.job_queue import Work
from service.kit.crypto import key_formats, webhook_signatures
from service.kit.crypto.encryption import encryption_context
from service.kit.database.connection import Connection
from service.kit.errors import FieldError, Invalid, NotFound, Unavailable
from service.kit.network.ssrf_guard import BlockedAddress
from service.kit.network.url_policy import in_networks
from service.resources import Resources
from service.subscribers.domain import subscriber_rules
from service.subscribers.domain.subscriber import Format, Ordering, SubscriberState
from service.subscribers.domain.subscriber_rules import UNENCRYPTED_SCHEMES, UrlRules
from service.subscribers.steps.read import decrypt_texts, get_subscriber
from service.subscribers.store import subscribers
from service.subscribers.store.subscribers import Subscriber

DELETE_BATCH_SIZE = 5_000  # deliveries; a fraction of a second, in which they cannot be recorded
REMOVAL_REASON = "it is being removed"
# As its fields are called in the API; a column by another name is set below.
SAME_NAMED_COLUMNS = (
    *("type", "url", "channel", "description", "event_types", "reference_types", "tags"),
    *("timeout", "schedule", "format", "signatures"),
)
LEFT_OUT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "channel": None,
        "credentials": None,
        "description": "",
        "event_types": None,
        "reference_types": None,
        "tags": None,
        "headers": None,
        "timeout": None,
        "schedule": None,
        "ordering": Ordering.PER_SUBJECT,
        "format": Format.STANDARD,
        "signatures": ("v1",),
        "seed": None,
        "public_key": None,
        "concurrency": None,
        "max_rate": None,
    }
)
FILTERS = (
    "event_types",
    "reference_types",
    "tags",
    "ordering",
)  # what decides what it hears, and how
# Health that nothing is held against. So it is after a pause too: its time is none of failures.
HEALTHY: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "failures": 0,
        "failing_since": None,
        "circuit_open_until": None,
        "failed_probes": 0,
        "current_rate": None,
        "status": None,
        "status_since": None,
        "reason": None,
        "notified_status": None,
    }
)


async def create(resources: Resources, account_id: str, body: object) -> tuple[Subscriber, str]:
    """The new subscriber and its secret, which is shown this once; Invalid with every error."""
    read = subscriber_rules.read_create(body, _rules(resources))
    await _check_address(resources, read["url"])
    key = read.get("secret") or resources.random_bytes(webhook_signatures.SECRET_BYTES)
    subscriber_id = resources.new_id("sbr")
    given = _columns(resources, subscriber_id, read) | _limits(read)
    subscriber = Subscriber(
        id=subscriber_id,
        account_id=account_id,
        state=SubscriberState.ACTIVE,
        disabled_reason=None,
        secret=resources.encryptor.encrypt(key, encryption_context(subscriber_id)),
        version=1,
        created_at=resources.clock(),
        **{**LEFT_OUT, **given},
    )
    most = resources.settings.max_subscribers_per_account
    async with resources.database.transaction() as tx:
        if await subscribers.count_for_update(tx, account_id) >= most:
            rule = f"an account has at most {most} subscribers"
            raise Invalid([FieldError("", "too_many_subscribers", rule)])
        await subscribers.add(tx, subscriber)
    await _start_audit(resources, subscriber)
    return subscriber, key_formats.format_whsec(key)


async def update(
    resources: Resources, account_id: str, subscriber_id: str, body: object
) -> Subscriber:
    """The subscriber as it is then: what is not given stays. Invalid with every error, NotFound
    if the account has no such subscriber."""
    type_ = (await get_subscriber(resources, account_id, subscriber_id)).type
    read = subscriber_rules.read_change(body, type_, _rules(resources))
    if "url" in read:
        await _check_address(resources, read["url"])
    flows = bool(read.keys() & {"concurrency", "rate", "state"})
    if flows:
        async with resources.database.autocommit() as tx:
            await subscriber_health.ensure(
                tx, [subscriber_id]
            )  # by itself: it holds the subscriber
    async with resources.database.transaction() as tx:
        if flows:
            await subscribers.lock_health(tx, subscriber_id)
        await subscribers.lock(tx, subscriber_id)
        before = await subscribers.get(tx, account_id, subscriber_id)
        if before is None:
            raise NotFound
        after = await _apply_update(resources, tx, before, read)
    await _start_audit(resources, after)
    if flows:
        resources.worker_notifier.wake(Work.DELIVER)
    return after


async def _apply_update(
    resources: Resources, tx: Connection, before: Subscriber, read: Mapping[str, Any]
) -> Subscriber:
    """The caller holds it."""
    back = before.state is SubscriberState.DISABLED and "state" in read
    resumed = before.state is SubscriberState.PAUSED and read.get("state") == SubscriberState.ACTIVE
    columns = _columns(resources, before.id, read, before)
    if "state" in read:
        columns |= {"state": read["state"], "disabled_reason": None}
    heard = {name: getattr(before, name) for name in FILTERS}
    if back or any(columns.get(name, kept) != kept for name, kept in heard.items()):
        columns |= {"audited_from_xid": None, "audited_until_xid": None}
    limits = {**_limits(read), **(HEALTHY if back or resumed else {})}
    await subscribers.update_subscriber(tx, before.id, columns)
    if limits:
        await subscribers.update_health(tx, before.id, limits)
    after = await subscribers.get(tx, before.account_id, before.id)
    return after or before  # it is held: it is there


async def _start_audit(resources: Resources, subscriber: Subscriber) -> None:
    """For the audit alone: without it, it asks less until the subscriber next changes."""
    with suppress(Unavailable):
        async with resources.database.autocommit() as tx:
            await subscribers.start_audit(tx, subscriber.id, subscriber.version)


async def delete(resources: Resources, account_id: str, subscriber_id: str) -> None:
    """Its deliveries go with it. NotFound if the account has no such subscriber.

    Once it is disabled nothing more is claimed or made for it; what is left goes part by part, so
    that nobody who records what is still under way waits long, or each for the other. Should this
    be broken off, the subscriber stays disabled, and can be removed again; should somebody make it
    active meanwhile, this begins anew.
    """
    await get_subscriber(resources, account_id, subscriber_id)
    gone = False
    while not gone:
        async with resources.database.transaction() as tx:
            values = {
                "state": SubscriberState.DISABLED,
                "disabled_reason": REMOVAL_REASON,
                "audited_from_xid": None,
            }
            await subscribers.update_subscriber(tx, subscriber_id, values)
        await _delete_deliveries(resources, subscriber_id)
        async with resources.database.transaction() as tx:
            gone = await subscribers.delete_subscriber(tx, subscriber_id)


async def _delete_deliveries(resources: Resources, subscriber_id: str) -> None:
    """Until it has no deliveries: first those that nobody holds, then what the others let go."""
    left = True
    while left:
        emptied = 1
        while emptied:
            async with resources.database.transaction() as tx:
                emptied = await subscribers.delete_deliveries(tx, subscriber_id, DELETE_BATCH_SIZE)
        async with resources.database.transaction() as tx:
            left = await subscribers.wait_for_recorders(tx, subscriber_id)


def _rules(resources: Resources) -> UrlRules:
    settings = resources.settings
    return UrlRules(settings.allowed_private_targets, settings.allowed_ports)


def _columns(
    resources: Resources,
    subscriber_id: str,
    read: Mapping[str, Any],
    before: Subscriber | None = None,
) -> dict[str, Any]:
    """What was read, as the subscriber's own row has it."""
    columns = {name: read[name] for name in SAME_NAMED_COLUMNS if name in read}
    if "order" in read:
        columns["ordering"] = read["order"]
    if "headers" in read:
        columns["headers"] = _encrypt_json(resources, subscriber_id, "headers", read["headers"])
    credentials = {name: read[name] for name in ("username", "password") if name in read}
    if credentials:
        kept = (decrypt_texts(resources, before, "credentials") if before else None) or {}
        merged = {name: value for name, value in (kept | credentials).items() if value is not None}
        columns["credentials"] = _encrypt_json(resources, subscriber_id, "credentials", merged)
    if "v1a" in read.get("signatures", ()) and (before is None or before.seed is None):
        seed = resources.random_bytes(webhook_signatures.SEED_BYTES)
        columns["seed"] = resources.encryptor.encrypt(
            seed, encryption_context(subscriber_id, "seed")
        )
        columns["public_key"] = webhook_signatures.public_key_from_seed(seed)
    return columns


def _limits(read: Mapping[str, Any]) -> dict[str, Any]:
    """The limits of a subscriber that has a row for its health."""
    columns = {"concurrency": "concurrency", "rate": "max_rate"}
    return {column: read[name] for name, column in columns.items() if name in read}


def _encrypt_json(
    resources: Resources, subscriber_id: str, what: str, values: Mapping[str, str]
) -> bytes | None:
    if not values:
        return None
    return resources.encryptor.encrypt(
        orjson.dumps(values), encryption_context(subscriber_id, what)
    )


async def _check_address(resources: Resources, url: str) -> None:
    """Invalid if the URL's host may not be dialled, or only encrypted.

    A name that does not resolve now may do so later: every attempt checks again.
    """
    settings = resources.settings
    parts = urlsplit(url)
    try:
        addresses = await resources.guard.resolve(parts.hostname or "")
    except BlockedAddress as error:
        raise Invalid([FieldError("/url", "url_blocked", str(error))]) from None
    except OSError:
        addresses = []
    private = bool(addresses) and all(
        in_networks(ip_address(address), settings.allowed_private_targets) for address in addresses
    )
    if parts.scheme in UNENCRYPTED_SCHEMES and not (settings.allow_http or private):
        encrypted = {"http": "https", "nats": "tls", "redis": "rediss"}[parts.scheme]
        raise Invalid([FieldError("/url", "url_scheme", f"{encrypted}:// is needed here")])
