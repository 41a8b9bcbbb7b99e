"""Spans about subjects: each is linked to the span that accepted the subject."""

from service.kit.errors import Unavailable
from service.kit.tracing import Span
from service.resources import Resources
from service.subjects.store import subjects


async def link(resources: Resources, span: Span, subject_id: str | None) -> None:
    """Say which subject a span is about, and link it to the span that accepted that; None: it is
    about none. Nothing is read unless the span is recorded."""
    if not span.recording or subject_id is None:
        return
    traceparent = None
    try:
        async with resources.database.autocommit() as tx:
            traceparent = await subjects.traceparent(tx, subject_id)
    except Unavailable:
        pass  # then it only names the subject
    span.link(subject_id, traceparent)
