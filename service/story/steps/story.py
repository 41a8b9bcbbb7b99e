"""The story of a subject: all that was learnt about it, without what it held."""

from typing import Any

from service.callbacks.domain.signature_schemes import Ed25519, Hmac
from service.kit.errors import NotFound
from service.metrics import installed_version
from service.resources import Resources
from service.settings import Settings
from service.story.domain.document import Kept, Teller, story
from service.story.store import story as story_store
from service.story.store.story import MAX_CALLBACKS, MAX_DELIVERIES


async def read(resources: Resources, account_id: str, subject_id: str) -> dict[str, Any]:
    """The story of a subject of this account, finished or not. NotFound if the account has no such
    subject."""
    kept = await _kept(resources, account_id, subject_id)
    sources = resources.settings.callback_sources
    teller = Teller(
        made_at=resources.clock(),
        version=installed_version(),
        settings=_settings(resources.settings),
        signature_headers={
            name: scheme.signature_header
            for name, scheme in sources.items()
            if isinstance(scheme, Hmac | Ed25519)
        },
    )
    return story(kept, teller)


async def _kept(resources: Resources, account_id: str, subject_id: str) -> Kept:
    async with resources.database.transaction() as tx:
        subject = await story_store.subject(tx, account_id, subject_id)
        if subject is None:
            raise NotFound
        callbacks = await story_store.callbacks(tx, subject_id)
        events = await story_store.events(tx, subject_id)
        deliveries = await story_store.deliveries(tx, subject_id)
        shown = deliveries[:MAX_DELIVERIES]
        attempts = await story_store.attempts(tx, [row["id"] for row in shown])
    return Kept(
        subject=subject,
        callbacks=callbacks[:MAX_CALLBACKS],
        events=events,
        deliveries=shown,
        attempts=attempts,
        truncated=len(callbacks) > MAX_CALLBACKS or len(deliveries) > MAX_DELIVERIES,
    )


def _settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide what happens when; seconds."""
    return {
        "task_deadline": settings.task_deadline,
        "poll_after": settings.poll_after,
        "lease": settings.lease,
        "provider_timeout": settings.provider_timeout,
        "not_found_grace": settings.not_found_grace,
        "sweep_interval": settings.sweep_interval,
        "provider_parallel": settings.provider_parallel,
        "delivery_schedule": list(settings.delivery_schedule),
        "callbacks_signed": bool(settings.webhook_secrets),
    }
