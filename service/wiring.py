"""The composition root: settings become resources; it owns the clock and the random numbers."""

import gc
import json
import logging
import random
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from service.callbacks.cache.webhook_secrets import WebhookSecretCache
from service.delivery.cache.send_settings import SendSettingsCache
from service.delivery.remote.streams import StreamPublisher
from service.delivery.remote.webhook import WebhookSender
from service.intake.cache.queue_limit import QueueLimit
from service.job_queue import WorkerNotifier
from service.kit.concurrency.limiter import Limiter
from service.kit.crypto.encryption import Encryptor
from service.kit.database.database import Database
from service.kit.network.ssrf_guard import AddressGuard
from service.media.remote.fetch import Fetcher
from service.provider.remote.client import ProviderClient
from service.provider.remote.credentials import ApiKey, KeyPair
from service.reconciliation.cache.typical_durations import TypicalDurations
from service.resources import Resources
from service.settings import Settings, unknown_variables
from service.subscribers.steps.send_test import MAX_TESTS, MAX_TESTS_PER_ACCOUNT

BUFFER_BYTES = 1024  # fetched at a time
COLLECT_AFTER = (10_000, 50, 100)  # objects; collections of the young; of the middle-aged
log = structlog.get_logger()
_RANDOM = random.SystemRandom()


def utc_now() -> datetime:
    """The clock: aware, UTC, in the milliseconds that are shown, so that what is stored, shown and
    compared is the same. Hosts are expected to keep time together to about a second."""
    now = datetime.now(UTC)  # noqa: TID251 - the one place that may
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class RandomBuffer:
    """Random bytes of the system's, fetched many at a time: a call to it for every id costs a
    twentieth of what a callback does."""

    def __init__(self) -> None:
        self._left = b""

    def __call__(self, count: int) -> bytes:
        if len(self._left) < count:
            self._left = secrets.token_bytes(max(count, BUFFER_BYTES))
        taken, self._left = self._left[:count], self._left[count:]
        return taken


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """All that the steps need, opened and closed together; nothing is dialled before its use."""
    database = Database(settings.database_url, settings.database_pool)
    guard = AddressGuard(settings.allowed_private_targets, ports=settings.allowed_ports)
    vault = Encryptor(settings.secret_key, secrets.token_bytes, settings.previous_secret_keys)
    provider = ProviderClient(
        settings.provider_url, _credentials(settings), settings.provider_timeout, utc_now
    )
    try:
        async with (
            WorkerNotifier(settings.redis_url, settings.queue_name) as worker_notifier,
            WebhookSender(guard) as sender,
            StreamPublisher(guard, allow_plaintext=settings.allow_http) as streams,
            Fetcher(guard) as fetcher,
        ):
            yield Resources(
                settings=settings,
                database=database,
                worker_notifier=worker_notifier,
                provider=provider,
                guard=guard,
                webhook_sender=sender,
                stream_publisher=streams,
                fetcher=fetcher,
                encryptor=vault,
                send_settings=SendSettingsCache(settings, vault),
                typical_durations=TypicalDurations(),
                webhook_secrets=WebhookSecretCache(settings, vault),
                test_slots=Limiter(MAX_TESTS, MAX_TESTS_PER_ACCOUNT),
                queue_limit=QueueLimit(settings.max_queued_per_account),
                callback_token_keys=vault.derive_all("callback addresses"),
                clock=utc_now,
                random=_RANDOM.random,
                random_bytes=RandomBuffer(),
            )
    finally:
        await provider.aclose()
        await database.close()


def _credentials(settings: Settings) -> ApiKey | KeyPair:
    if settings.provider_api_key:
        return ApiKey(settings.provider_api_key)
    return KeyPair(settings.provider_access_key, settings.provider_secret_key)


def start_logging(level: str) -> None:
    """One JSON object a line on standard error, of our own and of the libraries' alike."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(_line)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def warn_of_unknown_variables(environ: Mapping[str, str]) -> None:
    """One log line for each variable that looks like a setting and is none; never its value."""
    for name, nearest in unknown_variables(environ).items():
        log.warning("settings", action="unknown_setting", name=name, nearest=nearest)


def _line(line: EventDict, **options: Any) -> bytes:  # noqa: ANN401
    """One log line as JSON; in the standard library's slower way if it holds broken text."""
    try:
        return orjson.dumps(line, **options)
    except TypeError:
        return json.dumps(line, **options).encode()


def tune_garbage_collector() -> None:
    """What was imported stays, so the collector need not go through it; and what a request or a
    delivery makes is gone by itself. By default the collector takes a tenth of the time, and most
    of what the slowest answers wait for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
