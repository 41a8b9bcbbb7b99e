"""Send settings of subscribers as they are stored, with their secrets encrypted at rest."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection


@dataclass(frozen=True, slots=True)
class EncryptedKey:
    """A signing key as it is stored."""

    secret: bytes  # key of the HMAC, encrypted
    seed: bytes | None  # seed of the ed25519 key, encrypted; None if there is none
    expires_at: datetime | None  # when a previous key stops signing; None if it is the current one


@dataclass(frozen=True, slots=True)
class SendSettingsRow:
    """The columns of a subscriber that sending needs; `SendSettings` has them decrypted."""

    id: str  # the subscriber's
    account_id: str  # the subscriber's account
    type: str  # a SubscriberType
    url: str  # of an endpoint, or of a stream's server
    channel: str | None  # of a stream; None over HTTP
    credentials: bytes | None  # encrypted JSON; None if it has none
    headers: bytes | None  # encrypted JSON; None if it has none of its own
    timeout: float | None  # seconds; None if the setting DELIVERY_TIMEOUT holds
    schedule: Sequence[float] | None  # seconds; None if the setting DELIVERY_SCHEDULE holds
    format: str  # a Format
    signatures: Sequence[str]  # v1, and v1a if it asked for that
    version: int  # raised with every change of the subscriber
    # Whose keys sign: the subscriber's own id, or its account's if it stands for callback_urls.
    owner_id: str
    # The current key first, then the previous ones, the youngest first.
    keys: Sequence[EncryptedKey] = field(kw_only=True)


_SUBSCRIBERS = text("""
    SELECT s.id, s.account_id, s.type, s.url, s.channel, s.credentials, s.headers, s.timeout,
        s.schedule, s.format, s.signatures, s.version,
        CASE WHEN s.type = 'callback' THEN s.account_id ELSE s.id END AS owner_id,
        CASE WHEN s.type = 'callback' THEN a.callback_url_secret ELSE s.secret END AS secret,
        s.seed
    FROM subscribers s JOIN accounts a ON a.id = s.account_id
    WHERE s.id = ANY (CAST(:ids AS text[]))
""")
_PREVIOUS_KEYS = text("""
    SELECT owner_id, secret, seed, expires_at FROM previous_signing_keys
    WHERE owner_id = ANY (CAST(:owners AS text[])) AND expires_at > :now ORDER BY id DESC
""")


async def load(tx: Connection, ids: Sequence[str], now: datetime) -> list[SendSettingsRow]:
    """The rows of those of these subscribers that exist, with the keys that sign at `now`."""
    rows = await tx.execute(_SUBSCRIBERS, {"ids": list(ids)})
    values = {"owners": sorted({row["owner_id"] for row in rows}), "now": now}
    previous_keys = defaultdict(list)
    for owner_id, *key in await tx.execute(_PREVIOUS_KEYS, values):
        previous_keys[owner_id].append(EncryptedKey(*key))
    return [
        SendSettingsRow(
            *columns, keys=(EncryptedKey(secret, seed, None), *previous_keys[columns[-1]])
        )
        for *columns, secret, seed in rows  # the last of the columns is the owner
    ]
