"""Images that came as Base64: stored once per content, until no unfinished subject needs them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, exists, select, text

from service.kit.database.connection import Connection
from service.schema.subjects import media, subject_media, subjects

# The update locks the row, so that a sweep which found it unused waits, and is then stopped by the
# new reference. The order keeps two batches from a deadlock.
_SAVE = text("""
    INSERT INTO media (hash, bytes, created_at)
    SELECT hash, bytes, :now
    FROM unnest(CAST(:hashes AS text[]), CAST(:contents AS bytea[])) AS given (hash, bytes)
    ORDER BY hash
    ON CONFLICT (hash) DO UPDATE SET created_at = excluded.created_at
""")
_LINK = text("""
    INSERT INTO subject_media (subject_id, hash)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS text[]))
""")


async def save(tx: Connection, inline: Mapping[str, bytes], now: datetime) -> None:
    """Store images by the SHA-256 (hex) of their content; what is stored already stays longer."""
    values = {"hashes": list(inline), "contents": list(inline.values()), "now": now}
    await tx.execute(_SAVE, values)


async def link(tx: Connection, links: Sequence[tuple[str, str]]) -> None:
    """Keep stored images until a subject ends: pairs of a subject's id and an image's hash."""
    values = {"ids": [id_ for id_, _ in links], "hashes": [hash_ for _, hash_ in links]}
    await tx.execute(_LINK, values)


async def by_subject(tx: Connection, subject_id: str) -> dict[str, bytes]:
    """The stored images of an unfinished subject, by hash."""
    statement = (
        select(media.c.hash, media.c.bytes)
        .join(subject_media, subject_media.c.hash == media.c.hash)
        .where(subject_media.c.subject_id == subject_id)
    )
    return {row["hash"]: row["bytes"] for row in await tx.execute(statement)}


async def unlink_finished(tx: Connection) -> None:
    """Give up the images of subjects that have ended. The cost follows how many images are linked,
    not how many subjects have ended."""
    finished = (
        select(subjects.c.finished_at)
        .where(subjects.c.id == subject_media.c.subject_id)
        .scalar_subquery()
    )
    await tx.execute(delete(subject_media).where(finished.is_not(None)))


async def delete_unused(tx: Connection, before: datetime) -> int:
    """Delete images without a subject that were last sent `before` then; returns how many."""
    linked = exists().where(subject_media.c.hash == media.c.hash)
    statement = delete(media).where(media.c.created_at < before, ~linked).returning(media.c.hash)
    return len(await tx.execute(statement))
