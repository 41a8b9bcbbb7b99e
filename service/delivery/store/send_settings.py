"""What must be known of a subscriber to send to it, as it is stored: its secrets encrypted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.subscribers.domain.subscriber import Format, SubscriberType


@dataclass(frozen=True, slots=True)
class EncryptedKey:
    """A signing key as it is stored."""

    secret: bytes
    seed: bytes | None
    """The seed of its ed25519 key; None if there is none."""
    expires_at: datetime | None
    """When a previous key stops signing; None if it is the current one."""


@dataclass(frozen=True, slots=True)
class SendSettingsRow:
    """The columns of one subscriber that sending needs (delivery/domain/send_settings.py)."""

    id: str
    account_id: str
    type: SubscriberType
    url: str
    channel: str | None
    credentials: bytes | None
    """Encrypted, as the headers are; None if it has none."""
    headers: bytes | None
    timeout: float | None
    """Seconds; None if the setting DELIVERY_TIMEOUT holds."""
    schedule: tuple[float, ...] | None
    """Seconds; None if the setting DELIVERY_SCHEDULE holds."""
    format: Format
    signatures: tuple[str, ...]
    version: int
    owner_id: str
    """Whose keys it signs with: its own id, or that of the account whose callback_urls it stands
    for."""
    keys: tuple[EncryptedKey, ...]
    """The current one first, then the previous ones, the youngest first."""


_SUBSCRIBERS = text("""
    SELECT s.id, s.account_id, s.type, s.url, s.channel, s.credentials, s.headers, s.timeout,
        s.schedule, s.format, s.signatures, s.version,
        CASE WHEN s.type = 'callback' THEN s.account_id ELSE s.id END AS owner_id,
        CASE WHEN s.type = 'callback' THEN a.callback_url_secret ELSE s.secret END AS secret,
        s.seed
    FROM subscribers s JOIN accounts a ON a.id = s.account_id
    WHERE s.id = ANY (CAST(:ids AS text[]))
""")
_RETIRED = text("""
    SELECT owner_id, secret, seed, expires_at FROM previous_signing_keys
    WHERE owner_id = ANY (CAST(:owners AS text[])) AND expires_at > :now ORDER BY id DESC
""")


async def load(tx: Connection, ids: Sequence[str], now: datetime) -> list[SendSettingsRow]:
    """The rows of those of these subscribers that are there."""
    found = await tx.execute(_SUBSCRIBERS, {"ids": list(ids)})
    owners = sorted({row["owner_id"] for row in found})
    retired: dict[str, list[EncryptedKey]] = {owner: [] for owner in owners}
    for owner, secret, seed, until in await tx.execute(_RETIRED, {"owners": owners, "now": now}):
        retired[owner].append(EncryptedKey(secret, seed, until))
    return [
        SendSettingsRow(
            id=row["id"],
            account_id=row["account_id"],
            type=SubscriberType(row["type"]),
            url=row["url"],
            channel=row["channel"],
            credentials=row["credentials"],
            headers=row["headers"],
            timeout=row["timeout"],
            schedule=None if row["schedule"] is None else tuple(row["schedule"]),
            format=Format(row["format"]),
            signatures=tuple(row["signatures"]),
            version=row["version"],
            owner_id=row["owner_id"],
            keys=(EncryptedKey(row["secret"], row["seed"], None), *retired[row["owner_id"]]),
        )
        for row in found
    ]
