"""One webhook sent to a scripted server, and what came of it."""

from service.delivery.remote.outcomes import MAX_DETAIL, Answered, AttemptOutcome, Failed
from service.delivery.remote.webhook import WebhookSender
from service.kit.network.ssrf_guard import AddressGuard
from tests.support.raw_servers import LOOPBACK, TIMEOUT, Script, scripted_server


async def post_webhook(url: str, seconds: float = TIMEOUT, **headers: str) -> AttemptOutcome:
    """Post an empty event once."""
    async with WebhookSender(AddressGuard(LOOPBACK)) as sender:
        return await sender.post(url, headers, b"{}", seconds)


async def answered_attempt(script: Script, seconds: float = TIMEOUT) -> Answered:
    async with scripted_server(script) as url:
        attempt = await post_webhook(url, seconds)
    assert isinstance(attempt, Answered), attempt
    assert attempt.latency >= 0
    return attempt


async def failure_reason(script: Script, seconds: float = TIMEOUT) -> str:
    async with scripted_server(script) as url:
        return reason_of(await post_webhook(url, seconds))


def reason_of(attempt: AttemptOutcome) -> str:
    assert isinstance(attempt, Failed), attempt
    assert attempt.detail.isprintable()
    assert len(attempt.detail) <= MAX_DETAIL
    assert "hook" not in attempt.detail
    assert attempt.latency >= 0
    return attempt.reason
