"""The audit of subscribers' keys: each is decrypted, as it is before anything is sent."""

from collections.abc import AsyncIterator, Sequence

from service.delivery.store import send_settings
from service.delivery.store.send_settings import SendSettingsRow
from service.kit.crypto.encryption import DecryptionError
from service.operations.domain.audit_checks import AuditCheck, Violation
from service.operations.store import audit_keys
from service.resources import Resources

PAGE = 1000  # subscribers whose keys are read at once


async def pages(resources: Resources, most: float) -> AsyncIterator[list[str]]:
    """Ids of subscribers whose keys are to be tried, the newest first and about so many at most;
    then one of each account's hidden ones, of as many accounts."""
    seen, below = 0, audit_keys.LAST
    while below and seen < most:
        async with resources.database.autocommit() as tx:
            made = await audit_keys.made(tx, below, PAGE)
        yield made
        seen, below = seen + len(made), made[-1] if len(made) == PAGE else ""
    seen, below = 0, audit_keys.LAST
    while below and seen < most:
        async with resources.database.autocommit() as tx:
            hidden = await audit_keys.hidden(tx, below, PAGE)
        yield [id_ for id_ in hidden.values() if id_ is not None]
        seen, below = seen + len(hidden), list(hidden)[-1] if len(hidden) == PAGE else ""


async def check_keys(resources: Resources, subscriber_ids: Sequence[str]) -> list[Violation]:
    """Which of these subscribers have no key, or one that cannot be decrypted."""
    async with resources.database.transaction() as tx:
        rows = await send_settings.load(tx, subscriber_ids, resources.clock())
    return [
        Violation(AuditCheck.SUBSCRIBER_KEY, row.id) for row in rows if not _usable(resources, row)
    ]


def _usable(resources: Resources, row: SendSettingsRow) -> bool:
    current = row.keys[0]
    if not current.secret or ("v1a" in row.signatures and current.seed is None):
        return False
    try:
        resources.send_settings.decrypt(row)
    except (DecryptionError, ValueError):  # ValueError: what was decrypted is no JSON
        return False
    return True
