"""Subscribers come and go."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from service.core import signatures
from service.core.errors import Finding, Invalid, NotFound
from service.core.events import TYPES
from service.core.targets import check_url
from service.remote.guard import Blocked
from service.steps.resources import Resources
from service.store import deliveries, subscribers
from service.store.subscribers import Subscriber

SECRET_BYTES = 32
MAX_DESCRIPTION = 200  # characters
FIELDS = frozenset({"url", "event_types", "description"})
EVENT_TYPES = frozenset(TYPES.values())


@dataclass(frozen=True, slots=True)
class Wish:
    """A subscriber as it was asked for."""

    url: str
    event_types: tuple[str, ...] | None
    description: str


async def subscribe(resources: Resources, account_id: str, body: object) -> tuple[Subscriber, str]:
    """The new subscriber and its secret, which is shown this once; Invalid with every finding."""
    wish = _read(resources, body)
    await _reachable(resources, wish.url)
    key = resources.chance(SECRET_BYTES)
    subscriber_id = resources.new_id("sbr")
    subscriber = Subscriber(
        id=subscriber_id,
        account_id=account_id,
        url=wish.url,
        description=wish.description,
        event_types=wish.event_types,
        state="active",
        disabled_reason=None,
        secret=resources.vault.seal(key, subscriber_id),
        created_at=resources.clock(),
    )
    async with resources.database.transaction() as tx:
        await subscribers.add(tx, subscriber)
    return subscriber, signatures.secret_of(key)


async def unsubscribe(resources: Resources, account_id: str, subscriber_id: str) -> None:
    """Its deliveries go with it. NotFound if the account has no such subscriber."""
    async with resources.database.transaction() as tx:
        if await subscribers.get(tx, account_id, subscriber_id) is None:
            raise NotFound
        await subscribers.hold(tx, subscriber_id)
        await deliveries.cancel_all(tx, subscriber_id, resources.clock())
        await subscribers.remove(tx, account_id, subscriber_id)


async def subscriber(resources: Resources, account_id: str, subscriber_id: str) -> Subscriber:
    async with resources.database.glance() as tx:
        found = await subscribers.get(tx, account_id, subscriber_id)
    if found is None:
        raise NotFound
    return found


async def subscribers_page(
    resources: Resources, account_id: str, below: str | None, limit: int
) -> tuple[list[Subscriber], bool]:
    """The newest first, and whether there are more."""
    async with resources.database.glance() as tx:
        found = await subscribers.page(tx, account_id, below=below, limit=limit + 1)
    return found[:limit], len(found) > limit


def _read(resources: Resources, body: object) -> Wish:
    if not isinstance(body, dict):
        raise Invalid([Finding("", "type", "the body must be an object")])
    findings = [
        Finding(f"/{name}", "unknown_field", f"{name} is not a field of a subscriber")
        for name in sorted(map(str, body.keys() - FIELDS))
    ]
    url, types, description = body.get("url"), body.get("event_types"), body.get("description", "")
    findings += _url_findings(resources, url)
    findings += _type_findings(types)
    if not _fits(description):
        rule = f"description must be a text of at most {MAX_DESCRIPTION} characters, none U+0000"
        findings.append(Finding("/description", "description", rule))
    if findings:
        raise Invalid(findings)
    return Wish(str(url), None if types is None else tuple(dict.fromkeys(types)), description)


def _fits(description: object) -> bool:
    if not isinstance(description, str):
        return False
    return len(description) <= MAX_DESCRIPTION and "\0" not in description  # Postgres has none


def _url_findings(resources: Resources, url: Any) -> list[Finding]:  # noqa: ANN401
    if not isinstance(url, str):
        return [Finding("/url", "required", "url must be given, as a text")]
    allowed = resources.settings.allowed_private_targets
    return check_url(url, pointer="/url", https_only=False, allowed=allowed)


def _type_findings(types: Any) -> list[Finding]:  # noqa: ANN401
    if types is None:
        return []
    if not isinstance(types, list) or not types:
        rule = "event_types must be a list of at least one type; leave it out for all"
        return [Finding("/event_types", "type", rule)]
    return [
        Finding(
            f"/event_types/{place}",
            "unknown_event_type",
            f"must be one of {', '.join(sorted(EVENT_TYPES))}",
        )
        for place, one in enumerate(types)
        if not (isinstance(one, str) and one in EVENT_TYPES)
    ]


async def _reachable(resources: Resources, url: str) -> None:
    """Invalid if the URL's host may not be dialled, or only under https.

    A name that does not resolve now may do so later: every attempt checks again.
    """
    settings = resources.settings
    parts = urlsplit(url)
    try:
        addresses = await resources.guard.addresses(parts.hostname or "")
    except Blocked as error:
        raise Invalid([Finding("/url", "url_blocked", str(error))]) from None
    except OSError:
        addresses = []
    private = bool(addresses) and all(
        any(ip_address(address) in network for network in settings.allowed_private_targets)
        for address in addresses
    )
    if parts.scheme == "http" and not (settings.allow_http or private):
        raise Invalid([Finding("/url", "url_scheme", "an https URL is needed")])
