"""Resources: what all steps of a process share. wiring.py opens them, and they are handed down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.accounts.cache.key_owners import KeyOwnerCache
from service.callbacks.cache.webhook_secrets import WebhookSecretCache
from service.delivery.cache.send_settings import SendSettingsCache
from service.delivery.remote.streams import StreamPublisher
from service.delivery.remote.webhook import WebhookSender
from service.installation.cache.home import Home
from service.intake.cache.queue_limit import QueueLimit
from service.kit import ids
from service.kit.concurrency.limiter import Limiter
from service.kit.crypto.encryption import Encryptor
from service.kit.database.database import Database
from service.kit.network.ssrf_guard import AddressGuard
from service.media.remote.fetch import Fetcher
from service.operations.cache.snapshot import SnapshotCache
from service.provider.cache.unreadable_answers import UnreadableAnswerThrottle
from service.provider.remote.client import ProviderClient
from service.reconciliation.cache.typical_durations import TypicalDurations
from service.settings import Settings
from service.status.cache.conditions import ConditionsCache
from service.usage.cache.refusals import RefusalCounter


@dataclass(frozen=True, slots=True)
class Resources:
    """What the steps of one process share."""

    settings: Settings  # from the environment
    database: Database  # connections to Postgres
    provider: ProviderClient  # creates and looks up its tasks
    guard: AddressGuard  # against SSRF: no request goes out but through it
    webhook_sender: WebhookSender  # delivers events over HTTP
    stream_publisher: StreamPublisher  # delivers events to Redis and NATS
    fetcher: Fetcher  # of media
    encryptor: Encryptor  # of secrets at rest
    key_owners: KeyOwnerCache  # whose keys were used just now
    send_settings: SendSettingsCache  # how to send to each subscriber
    conditions: ConditionsCache  # that all that waits has in common
    typical_durations: TypicalDurations  # of tasks: when to poll first
    unreadable_answer_throttle: UnreadableAnswerThrottle  # bounds how often the count is reset
    webhook_secrets: WebhookSecretCache  # that verify callbacks
    home: Home  # whether the database is ours: the fence of all claims
    snapshots: SnapshotCache  # the newest snapshot of what waits
    test_slots: Limiter  # of tests of subscribers at once
    count_slots: Limiter  # of bulk operations that are being counted at once
    refusals: RefusalCounter  # requests that broke a rule, not stored yet
    queue_limit: QueueLimit  # how many subjects of an account may wait
    callback_token_keys: tuple[bytes, ...] = field(repr=False)  # sign tokens in callback URLs
    clock: Callable[[], datetime]  # the time, aware and in UTC
    random: Callable[[], float]  # a random number in [0, 1)
    random_bytes: Callable[[int], bytes]  # so many random bytes, fit for secrets

    @property
    def callback_token_key(self) -> bytes:
        """The key that new tokens are made with; tokens of the other keys stay valid."""
        return self.callback_token_keys[0]

    def new_id(self, prefix: str, at: datetime | None = None) -> str:
        """A new id that sorts by its time, such as `sub_…` for the prefix `sub`; that time is `at`,
        or now."""
        return ids.new_id(prefix, at or self.clock(), self.random_bytes(ids.RANDOM_BYTES))


def end_of_lease(resources: Resources, now: datetime) -> datetime:
    """The time at which a lease ends that is taken or renewed now."""
    return now + timedelta(seconds=resources.settings.lease)
