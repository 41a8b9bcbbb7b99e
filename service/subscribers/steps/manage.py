"""Creating, changing and deleting subscribers; the SSRF check of their URLs."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.delivery.store import subscriber_health
from service.kit.crypto.encryption import encryption_context
from service.kit.crypto.key_formats import format_whsec
from service.kit.crypto.webhook_signatures import NEW_SECRET_BYTES
from service.kit.database.connection import Connection
from service.kit.errors import FieldError, Invalid, NotFound, Unavailable
from service.kit.network.ssrf_guard import BlockedAddress
from service.kit.network.url_policy import in_networks
from service.resources import Resources
from service.subjects.domain.work import Work
from service.subjects.store import work
from service.subscribers.domain import subscriber_rules
from service.subscribers.domain.subscriber import SubscriberState
from service.subscribers.domain.subscriber_actions import subscriber_changed
from service.subscribers.domain.subscriber_rules import UNENCRYPTED_SCHEMES, UrlRules
from service.subscribers.steps.read import decrypt_texts, get_subscriber
from service.subscribers.steps.rotate import new_ed25519_key
from service.subscribers.store import subscribers
from service.subscribers.store.subscribers import Subscriber

DELETE_BATCH_SIZE = 5_000  # deliveries; a fraction of a second, in which they cannot be recorded
REMOVAL_REASON = "it is being removed"
# Columns that are called as the API's fields are; `_columns` sets the others.
SAME_NAMED_COLUMNS = (
    *("type", "url", "channel", "description", "event_types", "reference_types", "tags"),
    *("timeout", "schedule", "format", "signatures"),
)
AUDIT_TRIES = 20  # to start the audit of a subscriber, while statements run that do not know of it
AUDIT_PAUSE = 0.02  # seconds between two of them
FILTERS = ("event_types", "reference_types", "tags", "ordering")  # what the audit judges by
# Health after a subscriber is enabled or resumed: the time before counts as no time of failures.
HEALTHY: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("failures", "failed_probes"), 0),
    **dict.fromkeys(("failing_since", "circuit_open_until", "current_rate"), None),
    **dict.fromkeys(("status", "status_since", "reason", "notified_status"), None),
}


async def create(
    resources: Resources, account_id: str, body: object, actor: Actor | None = None
) -> tuple[Subscriber, str]:
    """Create a subscriber from a JSON body; its secret (whsec_…) beside it, which is shown this
    once. `actor`: who does it, for the action log, here and in what follows; None: a caller does.
    Invalid with every error."""
    fields = subscriber_rules.read_create(body, _url_rules(resources))
    await _check_address(resources, fields["url"])
    secret = fields.get("secret") or resources.random_bytes(NEW_SECRET_BYTES)
    subscriber_id = resources.new_id("sbr")
    subscriber = Subscriber(
        id=subscriber_id,
        account_id=account_id,
        secret=resources.encryptor.encrypt(secret, encryption_context(subscriber_id)),
        created_at=resources.clock(),
        **_columns(resources, subscriber_id, fields),
        **_limits(fields),
    )
    maximum = resources.settings.max_subscribers_per_account
    async with resources.database.transaction() as tx:
        if await subscribers.count_for_update(tx, account_id) >= maximum:
            rule = f"the request goes beyond the {maximum} subscribers that an account may have"
            raise Invalid([FieldError("", "too_many_subscribers", rule)])
        await subscribers.add(tx, subscriber)
        made = {"type": subscriber.type, "state": subscriber.state}
        action = Action(ActionKind.SUBSCRIBER_CREATED, subscriber_id, account_id, after=made)
        await action_log.record(tx, resources, actor, action)
    await _start_audit(resources, subscriber)
    return subscriber, format_whsec(secret)


async def update(
    resources: Resources,
    account_id: str,
    subscriber_id: str,
    body: object,
    actor: Actor | None = None,
) -> Subscriber:
    """Change the fields of a subscriber that a JSON body gives; the subscriber as it is then.

    NotFound if the account has no such subscriber; Invalid with every error.
    """
    type_ = (await get_subscriber(resources, account_id, subscriber_id)).type
    fields = subscriber_rules.read_change(body, type_, _url_rules(resources))
    if "url" in fields:
        await _check_address(resources, fields["url"])
    touches_health = bool(fields.keys() & {"concurrency", "rate", "state"})
    if touches_health:  # in a transaction of its own: to add the row locks the subscriber
        async with resources.database.autocommit() as tx:
            await subscriber_health.ensure(tx, [subscriber_id])
    async with resources.database.transaction() as tx:
        if touches_health:
            await subscribers.lock_health_row(tx, subscriber_id)
        await subscribers.lock(tx, subscriber_id)
        before = await subscribers.get(tx, account_id, subscriber_id)
        if before is None:
            raise NotFound
        after = await _apply_update(resources, tx, before, fields)
        change = subscriber_changed(account_id, subscriber_id, asdict(before), asdict(after))
        await action_log.record(tx, resources, actor, change)
        if touches_health:
            await work.notify(tx, Work.DELIVER)
    await _start_audit(resources, after)
    return after


async def _apply_update(
    resources: Resources, tx: Connection, before: Subscriber, fields: Mapping[str, Any]
) -> Subscriber:
    """The subscriber after the change; its row, and the one of its health, are locked."""
    columns = _columns(resources, before.id, fields, before)
    if "state" in fields:
        columns |= {"state": fields["state"], "disabled_reason": None}
        if fields["state"] != before.state:
            columns["state_since"] = resources.clock()
    enabled = before.state is SubscriberState.DISABLED and "state" in fields
    filters = {name: getattr(before, name) for name in FILTERS}
    if enabled or any(columns.get(name, value) != value for name, value in filters.items()):
        columns |= {"audited_from_xid": None, "audited_until_xid": None}
    await subscribers.update_subscriber(tx, before.id, columns)
    active = fields.get("state") == SubscriberState.ACTIVE
    resumed = before.state is SubscriberState.PAUSED and active
    health = {**_limits(fields), **(HEALTHY if enabled or resumed else {})}
    if health:
        await subscribers.update_health(tx, before.id, health)
    after = await subscribers.get(tx, before.account_id, before.id)
    return after or before  # its row is locked, so there is one


async def _start_audit(resources: Resources, subscriber: Subscriber) -> None:
    """Only the audit needs this: without it, it demands less until the subscriber next changes."""
    with suppress(Unavailable):
        for _ in range(AUDIT_TRIES):
            async with resources.database.autocommit() as tx:
                if await subscribers.start_audit(tx, subscriber.id, subscriber.version):
                    return
            await asyncio.sleep(AUDIT_PAUSE)


async def delete(
    resources: Resources, account_id: str, subscriber_id: str, actor: Actor | None = None
) -> None:
    """Delete a subscriber and its deliveries. NotFound if the account has no such subscriber.

    It is disabled first, so that no delivery is made or claimed any more, and its deliveries go in
    batches, so that nobody who records one waits long. If this is interrupted, the subscriber stays
    disabled and can be deleted again; if somebody enables it meanwhile, this starts again.
    """
    before = await get_subscriber(resources, account_id, subscriber_id)
    action = Action(
        ActionKind.SUBSCRIBER_DELETED, subscriber_id, account_id, {"state": before.state}
    )
    disabled = {
        "state": SubscriberState.DISABLED,
        "state_since": resources.clock(),
        "disabled_reason": REMOVAL_REASON,
        "audited_from_xid": None,
    }
    deleted = False
    while not deleted:
        async with resources.database.transaction() as tx:
            await subscribers.update_subscriber(tx, subscriber_id, disabled)
            await action_log.record(tx, resources, actor, action)
        actor = None  # it is written once, however often this starts again
        await _delete_deliveries(resources, subscriber_id)
        async with resources.database.transaction() as tx:
            deleted = await subscribers.delete_subscriber(tx, subscriber_id)


async def _delete_deliveries(resources: Resources, subscriber_id: str) -> None:
    """Delete a subscriber's deliveries: those that nobody holds, then those that are let go of."""
    remaining = True
    while remaining:
        deleted = 1
        while deleted:
            async with resources.database.transaction() as tx:
                deleted = await subscribers.delete_deliveries(tx, subscriber_id, DELETE_BATCH_SIZE)
        async with resources.database.transaction() as tx:
            remaining = await subscribers.wait_for_recorders(tx, subscriber_id)


def _url_rules(resources: Resources) -> UrlRules:
    settings = resources.settings
    return UrlRules(settings.allowed_private_targets, settings.allowed_ports)


def _columns(
    resources: Resources,
    subscriber_id: str,
    fields: Mapping[str, Any],
    before: Subscriber | None = None,
) -> dict[str, Any]:
    """The given fields as columns of the subscriber's row, without its limits."""
    columns = {name: fields[name] for name in SAME_NAMED_COLUMNS if name in fields}
    if "order" in fields:
        columns["ordering"] = fields["order"]
    if "headers" in fields:
        columns["headers"] = _encrypt_json(resources, subscriber_id, "headers", fields["headers"])
    credentials = {name: fields[name] for name in ("username", "password") if name in fields}
    if credentials:
        stored = (decrypt_texts(resources, before, "credentials") if before else None) or {}
        merged = {name: text for name, text in (stored | credentials).items() if text is not None}
        columns["credentials"] = _encrypt_json(resources, subscriber_id, "credentials", merged)
    if "v1a" in fields.get("signatures", ()) and (before is None or before.seed is None):
        columns["seed"], columns["public_key"] = new_ed25519_key(resources, subscriber_id)
    return columns


def _limits(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The given limits as columns of the row of the subscriber's health."""
    columns = {"concurrency": "concurrency", "rate": "max_rate"}
    return {column: fields[name] for name, column in columns.items() if name in fields}


def _encrypt_json(
    resources: Resources, subscriber_id: str, column: str, texts: Mapping[str, str]
) -> bytes | None:
    if not texts:
        return None
    context = encryption_context(subscriber_id, column)
    return resources.encryptor.encrypt(orjson.dumps(texts), context)


async def _check_address(resources: Resources, url: str) -> None:
    """Invalid if the URL's host must not be dialled, or not without encryption.

    A name that does not resolve now may do so later: every attempt checks again.
    """
    settings = resources.settings
    parts = urlsplit(url)
    try:
        addresses = await resources.guard.resolve(parts.hostname or "")
    except BlockedAddress as error:
        raise Invalid([FieldError("/url", "url_blocked", f"url is not usable: {error}")]) from None
    except OSError:
        addresses = []
    private = bool(addresses) and all(
        in_networks(ip_address(address), settings.allowed_private_targets) for address in addresses
    )
    if parts.scheme in UNENCRYPTED_SCHEMES and not (settings.allow_http or private):
        encrypted = {"http": "https", "nats": "tls", "redis": "rediss"}[parts.scheme]
        rule = f"url must start with {encrypted}:// unless its host is on a private network"
        raise Invalid([FieldError("/url", "url_scheme", rule)])
