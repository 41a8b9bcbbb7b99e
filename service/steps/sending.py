"""One message to one subscriber: signed now, sent by whatever it is reached through."""

from dataclasses import dataclass
from datetime import datetime

from service.core import signatures
from service.remote.attempts import Attempt
from service.steps.profiles import Profile
from service.steps.resources import Resources


@dataclass(frozen=True, slots=True)
class Message:
    """What a subscriber is told. `body` is the exact bytes that are signed and sent; `attempt_id`
    is this attempt's own, `url` where to if that is not the subscriber's."""

    event_id: str
    type: str
    body: bytes
    attempt_id: str
    url: str | None = None


async def send(resources: Resources, profile: Profile, message: Message, at: datetime) -> Attempt:
    """Once, within the subscriber's time-out. Whatever comes of it is a value."""
    headers = dict(profile.headers) | _signed(profile, message, at)
    headers["content-type"] = "application/json"
    headers["callsheet-attempt"] = message.attempt_id
    return await resources.sender.post(
        message.url or profile.url, headers, message.body, profile.timeout
    )


def _signed(profile: Profile, message: Message, at: datetime) -> dict[str, str]:
    keys = [key.secret for key in profile.keys_at(at)]
    return signatures.headers(keys, message.event_id, int(at.timestamp()), message.body)
