"""Messages published to NATS and Redis streams, and what their own clients read of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import nats
from nats.js import JetStreamContext

from service.delivery.remote.outcomes import AttemptOutcome, Published
from service.delivery.remote.stream_connection import StreamMessage
from service.delivery.remote.streams import StreamPublisher
from service.kit.network.ssrf_guard import AddressGuard
from tests.support.raw_servers import LOOPBACK, TIMEOUT

NO_CREDENTIALS = (None, None)
MESSAGE_BODY = b'{"type": "subject.succeeded", "data": {"n": 1.0}}'
MESSAGE_HEADERS = {"webhook-signature": "v1,c2lnbmF0dXJl", "content-type": "application/json"}


def stream_message(id_: str = "evt_1", **headers: str) -> StreamMessage:
    """A message to publish."""
    return StreamMessage(id_, "subject.succeeded", MESSAGE_HEADERS | headers, MESSAGE_BODY)


async def publish(  # noqa: PLR0913 - what a test does not say is the usual
    url: str,
    message: StreamMessage | None = None,
    *,
    channel: str = "events.all",
    credentials: tuple[str | None, str | None] = NO_CREDENTIALS,
    seconds: float = TIMEOUT,
    guard: AddressGuard | None = None,
) -> AttemptOutcome:
    """Publish one message over a connection of its own."""
    async with StreamPublisher(guard or AddressGuard(LOOPBACK)) as streams:
        return await streams.publish(
            url, credentials, channel, message or stream_message(), seconds
        )


def receipt_of(attempt: AttemptOutcome) -> bytes:
    """The receipt of a publish that succeeded."""
    assert isinstance(attempt, Published), attempt
    assert attempt.latency >= 0
    return attempt.body


@asynccontextmanager
async def jetstream(
    url: str, subjects: Sequence[str] = ("events.>",)
) -> AsyncIterator[JetStreamContext]:
    """A client of nats-py, on a server with an empty stream EVENTS of these subjects."""
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="EVENTS", subjects=list(subjects))
    try:
        yield stream
    finally:
        await stream.delete_stream("EVENTS")
        await client.close()
