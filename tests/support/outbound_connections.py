"""The senders whose address a subscriber chooses, each as a function of host and port."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from service.delivery.remote.outcomes import AttemptOutcome
from service.delivery.remote.streams import StreamPublisher
from service.delivery.remote.webhook import WebhookSender
from service.kit.network.ssrf_guard import AddressGuard
from tests.support.raw_servers import TIMEOUT
from tests.support.stream_publishing import NO_CREDENTIALS, stream_message

Send = Callable[
    [str, int], Awaitable[AttemptOutcome]
]  # to this host (in brackets, if need be) and port
SENDER_KINDS = ("webhook", "nats", "redis_stream")


@asynccontextmanager
async def open_sender(
    kind: str, guard: AddressGuard, *, inward: bool = False
) -> AsyncIterator[Send]:
    """A function that sends once. Each publish opens a connection of its own; a webhook's server
    has to close its. All is sent in plain text; if `inward`, to allowed networks only."""
    async with (
        WebhookSender(guard) as sender,
        StreamPublisher(guard, allow_plaintext=not inward, idle_seconds=0) as streams,
    ):

        async def post(host: str, port: int) -> AttemptOutcome:
            url = f"http://{host}:{port}/hook"
            return await sender.post(url, {}, b"{}", TIMEOUT, only_allowed_networks=inward)

        async def publish(host: str, port: int) -> AttemptOutcome:
            scheme = "nats" if kind == "nats" else "redis"
            url = f"{scheme}://{host}:{port}"
            return await streams.publish(
                url, NO_CREDENTIALS, "events.all", stream_message(), TIMEOUT
            )

        yield post if kind == "webhook" else publish
