"""What the steps work with: opened in wiring.py, handed down, never looked up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from service.core import ids
from service.job_queue import Queue
from service.remote.guard import Guard
from service.remote.media import Fetcher
from service.remote.provider import Provider
from service.remote.streams import StreamPublisher
from service.remote.webhook import WebhookSender
from service.settings import Settings
from service.steps.callback_secret_cache import CallbackSecretCache
from service.steps.learnt import Learnt
from service.steps.limiter import Limiter
from service.steps.queue_limit import QueueLimit
from service.steps.send_settings import SendSettingsCache
from service.steps.vault import Vault
from service.store.database import Database


@dataclass(frozen=True, slots=True)
class Resources:
    """`clock` gives aware UTC; `dice` a number in [0, 1); `chance` that many random bytes."""

    settings: Settings
    database: Database
    queue: Queue
    provider: Provider
    guard: Guard
    webhook_sender: WebhookSender
    stream_publisher: StreamPublisher
    fetcher: Fetcher
    vault: Vault
    send_settings: SendSettingsCache
    learnt: Learnt
    callback_secrets: CallbackSecretCache
    test_slots: Limiter
    queue_limit: QueueLimit
    callback_keys: tuple[bytes, ...] = field(repr=False)  # make callback addresses unforgeable
    clock: Callable[[], datetime]
    dice: Callable[[], float]
    chance: Callable[[int], bytes]

    @property
    def callback_key(self) -> bytes:
        """What new callback addresses are made with; those of the other keys are known too."""
        return self.callback_keys[0]

    def new_id(self, prefix: str) -> str:
        return ids.new_id(prefix, self.clock(), self.chance(ids.CHANCE_BYTES))
