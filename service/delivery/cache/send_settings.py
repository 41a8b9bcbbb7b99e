"""How subscribers are sent to, decrypted once and remembered until the subscriber changes."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import orjson
import structlog

from service.delivery.domain.send_settings import SendSettings, SigningKey
from service.delivery.store import send_settings
from service.delivery.store.send_settings import SendSettingsRow
from service.kit.crypto.encryption import DecryptionError, Encryptor, encryption_context
from service.kit.database.database import Database
from service.settings import Settings

log = structlog.get_logger()

MOST_KEPT = 10_000  # subscribers; a few kB each


class SendSettingsCache:
    """The settings that this process read last, each good for one version of its subscriber."""

    def __init__(self, settings: Settings, vault: Encryptor) -> None:
        self._settings = settings
        self._vault = vault
        self._kept: dict[str, SendSettings] = {}

    async def known(
        self, database: Database, versions: Mapping[str, int], now: datetime
    ) -> dict[str, SendSettings]:
        """The settings of subscribers by their ids, which are given with their versions; none of a
        subscriber that was removed, or whose secrets cannot be decrypted."""
        known = {
            id_: self._kept[id_]
            for id_, version in versions.items()
            if id_ in self._kept and self._kept[id_].version == version
        }
        if stale := [id_ for id_ in versions if id_ not in known]:
            async with database.transaction() as tx:
                rows = await send_settings.load(tx, stale, now)
            known |= {row.id: read for row in rows if (read := self._safely(row)) is not None}
            if len(self._kept) > MOST_KEPT:
                self._kept.clear()
            self._kept |= known
        return known

    def _safely(self, row: SendSettingsRow) -> SendSettings | None:
        try:
            return self.opened(row)
        except DecryptionError as error:
            fields = {"subscriber": row.id, "error": str(error)}
            log.warning("profiles", action="secret_sealed", **fields)
            return None

    def opened(self, row: SendSettingsRow) -> SendSettings:
        """The settings decrypted; Sealed if they cannot be: was SECRET_KEY changed?"""
        credentials = self._read(row.credentials, encryption_context(row.id, "credentials"))
        return SendSettings(
            id=row.id,
            account_id=row.account_id,
            type=row.type,
            url=row.url,
            channel=row.channel,
            username=credentials.get("username"),
            password=credentials.get("password"),
            headers=self._read(row.headers, encryption_context(row.id, "headers")),
            timeout=row.timeout or self._settings.delivery_timeout,
            schedule=row.schedule or self._settings.delivery_schedule,
            format=row.format,
            version=row.version,
            keys=tuple(self._keys(row)),
        )

    def _read(self, sealed: bytes | None, context: str) -> dict[str, str]:
        """What was encrypted as JSON: texts by name; empty if there is nothing."""
        if sealed is None:
            return {}
        read: dict[str, str] = orjson.loads(self._vault.decrypt(sealed, context))
        return read

    def _keys(self, row: SendSettingsRow) -> Iterable[SigningKey]:
        v1a = "v1a" in row.signatures
        for key in row.keys:
            seed = None
            if v1a and key.seed is not None:
                seed = self._vault.decrypt(key.seed, encryption_context(row.owner_id, "seed"))
            yield SigningKey(
                self._vault.decrypt(key.secret, encryption_context(row.owner_id)),
                seed,
                key.expires_at,
            )
