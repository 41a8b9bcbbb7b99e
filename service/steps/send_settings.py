"""What a sender must know of a subscriber: opened once, and kept until the subscriber changes."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import orjson
import structlog

from service.core.send_settings import SendSettings, SigningKey
from service.settings import Settings
from service.steps.vault import Sealed, Vault
from service.store import send_settings
from service.store.database import Database
from service.store.send_settings import SendSettingsRow

log = structlog.get_logger()

MOST_KEPT = 10_000  # subscribers; a few kB each


def encryption_context(owner_id: str, what: str = "") -> str:
    """What a sealed value of a subscriber, or of an account, is bound to: `what` is seed, headers
    or credentials, and nothing for the secret itself."""
    return f"{owner_id} {what}" if what else owner_id


class SendSettingsCache:
    """Those read last, each good as long as its version is."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._settings = settings
        self._vault = vault
        self._kept: dict[str, SendSettings] = {}

    async def known(
        self, database: Database, wanted: Mapping[str, int], now: datetime
    ) -> dict[str, SendSettings]:
        """The profiles of these subscribers, given with their versions; none of one that was
        removed, or whose secrets cannot be opened."""
        known = {
            id_: self._kept[id_]
            for id_, version in wanted.items()
            if id_ in self._kept and self._kept[id_].version == version
        }
        if stale := [id_ for id_ in wanted if id_ not in known]:
            async with database.transaction() as tx:
                found = await send_settings.load(tx, stale, now)
            known |= {one.id: one for one in map(self._safely, found) if one is not None}
            if len(self._kept) > MOST_KEPT:
                self._kept.clear()
            self._kept |= known
        return known

    def _safely(self, stored: SendSettingsRow) -> SendSettings | None:
        try:
            return self.opened(stored)
        except Sealed as error:
            fields = {"subscriber": stored.id, "error": str(error)}
            log.warning("profiles", action="secret_sealed", **fields)
            return None

    def opened(self, stored: SendSettingsRow) -> SendSettings:
        """Sealed, if it cannot be: was SECRET_KEY changed?"""
        credentials = self._read(stored.credentials, encryption_context(stored.id, "credentials"))
        return SendSettings(
            id=stored.id,
            account_id=stored.account_id,
            type=stored.type,
            url=stored.url,
            channel=stored.channel,
            username=credentials.get("username"),
            password=credentials.get("password"),
            headers=self._read(stored.headers, encryption_context(stored.id, "headers")),
            timeout=stored.timeout or self._settings.delivery_timeout,
            schedule=stored.schedule or self._settings.delivery_schedule,
            format=stored.format,
            version=stored.version,
            keys=tuple(self._keys(stored)),
        )

    def _read(self, sealed: bytes | None, context: str) -> dict[str, str]:
        """What was sealed as JSON: texts by name."""
        if sealed is None:
            return {}
        read: dict[str, str] = orjson.loads(self._vault.open(sealed, context))
        return read

    def _keys(self, stored: SendSettingsRow) -> Iterable[SigningKey]:
        v1a = "v1a" in stored.signatures
        for key in stored.keys:
            seed = None
            if v1a and key.seed is not None:
                seed = self._vault.open(key.seed, encryption_context(stored.owner_id, "seed"))
            yield SigningKey(
                self._vault.open(key.secret, encryption_context(stored.owner_id)),
                seed,
                key.expires_at,
            )
