"""Media that came as Base64: kept once per content, as long as an unfinished subject needs it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, exists, select, text

from service.kit.database.connection import Connection
from service.schema.subjects import media, subject_media, subjects

# The update takes the row's lock, so that a sweep which found it unused waits, and is then stopped
# by the new reference. The order keeps two batches from waiting for each other.
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
    """Keep bytes under their hash."""
    values = {"hashes": list(inline), "contents": list(inline.values()), "now": now}
    await tx.execute(_SAVE, values)


async def link(tx: Connection, needed: Sequence[tuple[str, str]]) -> None:
    """Keep these media, each a subject's id and a hash, until the subject ends."""
    values = {"ids": [id_ for id_, _ in needed], "hashes": [hash_ for _, hash_ in needed]}
    await tx.execute(_LINK, values)


async def by_subject(tx: Connection, subject_id: str) -> dict[str, bytes]:
    """What an unfinished subject needs, by hash."""
    statement = (
        select(media.c.hash, media.c.bytes)
        .join(subject_media, subject_media.c.hash == media.c.hash)
        .where(subject_media.c.subject_id == subject_id)
    )
    return {row["hash"]: row["bytes"] for row in await tx.execute(statement)}


async def unlink_finished(tx: Connection) -> None:
    """Ended subjects need no media. The cost follows what is needed, not how many have ended."""
    finished = (
        select(subjects.c.finished_at)
        .where(subjects.c.id == subject_media.c.subject_id)
        .scalar_subquery()
    )
    await tx.execute(delete(subject_media).where(finished.is_not(None)))


async def delete_unused(tx: Connection, before: datetime) -> int:
    """Drop what nobody needs and nobody brought since `before`; how many."""
    needed = exists().where(subject_media.c.hash == media.c.hash)
    statement = delete(media).where(media.c.created_at < before, ~needed).returning(media.c.hash)
    return len(await tx.execute(statement))
