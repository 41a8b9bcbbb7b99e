"""How far the deletions of subjects at the provider are, as callers see it."""

from collections.abc import Sequence
from typing import Any

from service.erasure.domain.erasure import Erasure, public_erasure
from service.erasure.domain.erasure_why import erasure_why
from service.erasure.domain.tombstone import at_provider
from service.erasure.store import erasures
from service.resources import Resources
from service.subjects.domain.subject import Subject, WaitingView
from service.subjects.domain.why import why_member


async def erasures_of(resources: Resources, subjects: Sequence[WaitingView]) -> dict[str, Erasure]:
    """The deletions that were asked for, by the ids of these subjects. Nothing is read where none
    was, as the rows of the subjects say."""
    asked = [subject.id for subject in subjects if subject.erasure_requested_at is not None]
    if not asked:
        return {}
    async with resources.database.autocommit() as tx:
        return await erasures.by_subjects(tx, asked)


async def erasure_member(resources: Resources, erasure: Erasure | None) -> dict[str, Any]:
    """The member `erasure` of a subject; empty for None."""
    if erasure is None:
        return {}
    now = resources.clock()
    conditions = await resources.conditions.current(resources.database, now)
    why = why_member(erasure_why(erasure, conditions, now))
    return {"erasure": public_erasure(erasure) | why}


async def member_after_erasure(resources: Resources, tombstone: Subject) -> dict[str, Any]:
    """The member `erasure` of a subject that was erased here alone: what is left of it at the
    provider, and whether that is to be deleted."""
    async with resources.database.autocommit() as tx:
        asked = await erasures.by_subjects(tx, [tombstone.id])
    if tombstone.id in asked:
        return await erasure_member(resources, asked[tombstone.id])
    return {"erasure": at_provider(tombstone)}
