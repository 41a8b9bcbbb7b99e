"""A cache of subscribers' send settings, decrypted once and kept until the subscriber changes."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import orjson
import structlog

from service.delivery.domain.send_settings import SendSettings, SigningKey
from service.delivery.store import send_settings as send_settings_store
from service.delivery.store.send_settings import SendSettingsRow
from service.kit.crypto.encryption import DecryptionError, Encryptor, encryption_context
from service.kit.database.database import Database
from service.settings import Settings
from service.subscribers.domain.subscriber import Format, SubscriberType

log = structlog.get_logger()

MAX_CACHED = 10_000  # subscribers; a few kB each


class SendSettingsCache:
    """The send settings that this process read last, each good for one version of a subscriber."""

    def __init__(self, settings: Settings, encryptor: Encryptor) -> None:
        self._settings = settings
        self._encryptor = encryptor
        self._cached: dict[str, SendSettings] = {}  # by subscriber id

    async def get_many(
        self, database: Database, versions: Mapping[str, int], now: datetime
    ) -> dict[str, SendSettings]:
        """The settings of subscribers by their ids; `versions` has the ids, and the version that is
        wanted of each. A subscriber that was removed, or whose secrets cannot be decrypted, is left
        out."""
        found = {
            id_: self._cached[id_]
            for id_, version in versions.items()
            if id_ in self._cached and self._cached[id_].version == version
        }
        if missing := [id_ for id_ in versions if id_ not in found]:
            async with database.transaction() as tx:
                rows = await send_settings_store.load(tx, missing, now)
            for row in rows:
                try:
                    found[row.id] = self.decrypt(row)
                except DecryptionError as error:
                    fields = {"subscriber": row.id, "error": str(error)}
                    log.warning("send_settings", action="secret_unreadable", **fields)
            if len(self._cached) > MAX_CACHED:
                self._cached.clear()
            self._cached |= found
        return found

    def decrypt(self, row: SendSettingsRow) -> SendSettings:
        """A subscriber's settings with its secrets in the clear. DecryptionError if these cannot be
        decrypted: was SECRET_KEY changed?"""
        credentials = self._decrypt_json(row.credentials, encryption_context(row.id, "credentials"))
        return SendSettings(
            id=row.id,
            account_id=row.account_id,
            type=SubscriberType(row.type),
            url=row.url,
            channel=row.channel,
            username=credentials.get("username"),
            password=credentials.get("password"),
            headers=self._decrypt_json(row.headers, encryption_context(row.id, "headers")),
            timeout=row.timeout or self._settings.delivery_timeout,
            schedule=tuple(row.schedule or self._settings.delivery_schedule),
            format=Format(row.format),
            version=row.version,
            keys=tuple(self._decrypt_keys(row)),
        )

    def _decrypt_json(self, encrypted: bytes | None, context: str) -> dict[str, str]:
        """What was encrypted as a JSON object of texts; empty if there is nothing."""
        if encrypted is None:
            return {}
        decrypted: dict[str, str] = orjson.loads(self._encryptor.decrypt(encrypted, context))
        return decrypted

    def _decrypt_keys(self, row: SendSettingsRow) -> Iterable[SigningKey]:
        for key in row.keys:
            seed = None
            if "v1a" in row.signatures and key.seed is not None:
                seed = self._encryptor.decrypt(key.seed, encryption_context(row.owner_id, "seed"))
            secret = self._encryptor.decrypt(key.secret, encryption_context(row.owner_id))
            yield SigningKey(secret, seed, key.expires_at)
