"""Answering requests by what was made earlier under the names that they give."""

from collections.abc import Sequence
from datetime import datetime

from service.intake.domain.create_request import KEY_TTL, PendingCreate
from service.intake.store import earlier, idempotency
from service.intake.store.earlier import Earlier, Names
from service.kit.database.connection import Connection
from service.subjects.domain.subject import Subject
from service.subjects.store import subjects
from service.subscribers.steps.callback_url_subscribers import origin_of


async def answer_by_earlier(
    connection: Connection, creates: Sequence[PendingCreate], now: datetime
) -> None:
    """Answer the requests whose idempotency key is bound, or whose account has a subject of their
    external_task_id already; and let each have the hidden subscriber of its callback_url's origin,
    where there is one. Nothing is locked; keys are freed whose bindings have expired, or whose
    subjects are gone."""
    named = [create for create in creates if create.has_names]
    if not named:
        return
    found = await earlier.find(connection, [_names(*entry) for entry in enumerate(named)])
    known = await _known_subjects(connection, found)
    unbound = []
    for create, made in zip(named, found, strict=True):
        if made.callback_subscriber_id:
            create.assign_callback_subscriber(made.callback_subscriber_id)
        if made.binding and (account_and_key := create.account_and_key):
            bound = known.get(made.binding.subject_id)
            if bound and made.binding.created_at > now - KEY_TTL:
                create.answer_by_key(bound, made.binding.fingerprint)
                continue
            unbound.append((account_and_key, made.binding))
        if made.subject_id in known:
            create.answer_by_external_id(known[made.subject_id])
    if unbound:
        await idempotency.free(connection, unbound)


def _names(place: int, create: PendingCreate) -> Names:
    request = create.request
    return Names(
        place,
        request.account_id,
        request.idempotency_key,
        request.external_task_id,
        origin_of(request.callback_url) if request.callback_url else None,
    )


async def _known_subjects(connection: Connection, found: Sequence[Earlier]) -> dict[str, Subject]:
    """The subjects that were made earlier, by id."""
    ids = {made.binding.subject_id for made in found if made.binding}
    ids |= {made.subject_id for made in found if made.subject_id}
    return await subjects.by_ids(connection, sorted(ids)) if ids else {}
