"""Media that came as Base64: kept once per content, as long as an unfinished subject needs it."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert as upsert

from service.store.database import Transaction
from service.store.tables import media, subject_media, subjects


async def keep(tx: Transaction, inline: Mapping[str, bytes], now: datetime) -> None:
    """Keep bytes under their hash. The update takes the row's lock, so that a sweep which found
    it unused waits, and is then stopped by the new reference."""
    for digest, content in sorted(inline.items()):
        await tx.execute(
            upsert(media)
            .values(hash=digest, bytes=content, created_at=now)
            .on_conflict_do_update(index_elements=["hash"], set_={"created_at": now})
        )


async def of_subject(tx: Transaction, subject_id: str) -> dict[str, bytes]:
    """What an unfinished subject needs, by hash."""
    statement = (
        select(media.c.hash, media.c.bytes)
        .join(subject_media, subject_media.c.hash == media.c.hash)
        .where(subject_media.c.subject_id == subject_id)
    )
    return {row.hash: row.bytes for row in await tx.execute(statement)}


async def release(tx: Transaction) -> None:
    """Ended subjects need no media. The cost follows what is needed, not how many have ended."""
    finished = (
        select(subjects.c.finished_at)
        .where(subjects.c.id == subject_media.c.subject_id)
        .scalar_subquery()
    )
    await tx.execute(delete(subject_media).where(finished.is_not(None)))


async def drop_unused(tx: Transaction, before: datetime) -> int:
    """Drop what nobody needs and nobody brought since `before`; how many."""
    needed = exists().where(subject_media.c.hash == media.c.hash)
    statement = delete(media).where(media.c.created_at < before, ~needed).returning(media.c.hash)
    return len((await tx.execute(statement)).all())
