"""The composition root: settings become resources; it owns the clock and the random numbers."""

import gc
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from service.accounts.cache.key_owners import KeyOwnerCache
from service.callbacks.cache.webhook_secrets import WebhookSecretCache
from service.delivery.cache.send_settings import SendSettingsCache
from service.delivery.remote.streams import StreamPublisher
from service.delivery.remote.webhook import WebhookSender
from service.installation.cache.home import Home
from service.intake.cache.queue_limit import QueueLimit
from service.kit.concurrency.limiter import Limiter
from service.kit.crypto.encryption import Encryptor
from service.kit.database.database import Database
from service.kit.network.ssrf_guard import AddressGuard
from service.media.remote.fetch import Fetcher
from service.operations.cache.snapshot import SnapshotCache
from service.operations.steps.make_operation import MAX_COUNTS, MAX_COUNTS_PER_ACCOUNT
from service.provider.cache.unreadable_answers import UnreadableAnswerThrottle
from service.provider.remote.client import ProviderClient
from service.provider.remote.credentials import ProviderApiKey, ProviderKeyPair
from service.reconciliation.cache.typical_durations import TypicalDurations
from service.resources import Resources
from service.settings import Settings
from service.status.cache.conditions import ConditionsCache
from service.subscribers.steps.send_test import MAX_TESTS, MAX_TESTS_PER_ACCOUNT
from service.usage.cache.refusals import RefusalCounter

RANDOM_BUFFER_BYTES = 1024  # fetched at a time
GC_THRESHOLDS = (10_000, 50, 100)  # of the three generations: see gc.set_threshold
_RANDOM = random.SystemRandom()


def utc_now() -> datetime:
    """The clock: aware, in UTC, in whole milliseconds as they are shown, so that what is stored,
    shown and compared is the same. Clocks of hosts should differ by a second at most."""
    milliseconds = time.time_ns() // 1_000_000
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class RandomBuffer:
    """Random bytes of the system, fetched many at a time: a system call for every id would cost a
    twentieth of a callback's time."""

    def __init__(self) -> None:
        self._left = b""

    def __call__(self, count: int) -> bytes:
        if len(self._left) < count:
            self._left = secrets.token_bytes(max(count, RANDOM_BUFFER_BYTES))
        taken, self._left = self._left[:count], self._left[count:]
        return taken


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Open and close all resources together; nothing is connected to before its first use."""
    database = Database(settings.database_url, settings.database_pool)
    guard = AddressGuard(settings.allowed_private_targets, ports=settings.allowed_ports)
    encryptor = Encryptor(settings.secret_key, secrets.token_bytes, settings.previous_secret_keys)
    provider = ProviderClient(
        settings.provider_url, _credentials(settings), settings.provider_timeout, utc_now
    )
    snapshots, home = SnapshotCache(), Home(settings.public_url)
    try:
        async with (
            WebhookSender(guard) as sender,
            StreamPublisher(guard, allow_plaintext=settings.allow_http) as streams,
            Fetcher(guard) as fetcher,
        ):
            yield Resources(
                settings=settings,
                database=database,
                provider=provider,
                guard=guard,
                webhook_sender=sender,
                stream_publisher=streams,
                fetcher=fetcher,
                encryptor=encryptor,
                key_owners=KeyOwnerCache(),
                send_settings=SendSettingsCache(settings, encryptor),
                conditions=ConditionsCache(settings, home),
                typical_durations=TypicalDurations(),
                unreadable_answer_throttle=UnreadableAnswerThrottle(),
                webhook_secrets=WebhookSecretCache(settings, encryptor),
                home=home,
                snapshots=snapshots,
                test_slots=Limiter(MAX_TESTS, MAX_TESTS_PER_ACCOUNT),
                count_slots=Limiter(MAX_COUNTS, MAX_COUNTS_PER_ACCOUNT),
                refusals=RefusalCounter(),
                queue_limit=QueueLimit(settings.max_queued_per_account),
                callback_token_keys=encryptor.derive_all("callback addresses"),
                clock=utc_now,
                random=_RANDOM.random,
                random_bytes=RandomBuffer(),
            )
    finally:
        await snapshots.close()
        await provider.aclose()
        await database.close()


def _credentials(settings: Settings) -> ProviderApiKey | ProviderKeyPair:
    if settings.provider_api_key:
        return ProviderApiKey(settings.provider_api_key)
    return ProviderKeyPair(settings.provider_access_key, settings.provider_secret_key)


def tune_garbage_collector() -> None:
    """Make the garbage collector run rarely, and skip what was imported, since that stays. What a
    request or a delivery makes is freed by reference counts. With Python's defaults the collector
    takes a tenth of the time, and most of what the slowest responses wait for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
