"""SQL that wipes what subjects held, in every table that has any of it.

Of a subject these are wiped, and all else that is stored of it says nothing of its contents:

- `subjects`: document (but its reference type), tags, result (but the element's id and the cost),
  error (but its code), warnings, signals, the hidden subscriber of its callback_url
- `subject_media`, `media`: its images, unless another subject has the same
- `events`: bodies; no feed shows these events any more
- `deliveries`: the callback_url; what was pending is canceled
- `attempts`: answers, and the words of errors
- `callbacks`: body, headers, reason, also of those that came under another subject's address; the
  body's SHA-256 stays, so that a duplicate is known as one

What stays by intent: the external_task_id, idempotency keys and fingerprints (SHA-256), by which a
repeated request is known; the origin of its callback_url, which is that of a hidden subscriber for
all requests of the account; the action log and bulk operations, which have ids and states alone.

The caller has locked the subjects (FOR UPDATE): nobody moves them, replays their events, or stores
a callback about them meanwhile.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import text

from service.erasure.domain.tombstone import ERASED
from service.kit.database.connection import Connection
from service.kit.database.json_rows import columns_of, encode_rows, from_rows
from service.subjects.domain.subject import Subject
from service.subjects.store.events import NOTIFIED, NewEvent, event_values, write_events


class _Row(Struct, omit_defaults=True):
    """What is left of a subject, as it is written."""

    id: str
    version: int
    document: Mapping[str, Any]
    erased_at: datetime
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


_SUBJECTS = text(f"""
    WITH {write_events()}, erased AS (
        UPDATE subjects s SET
            version = tombstones.version,
            document = tombstones.document,
            tags = '{{}}',
            result = tombstones.result,
            error = tombstones.error,
            warnings = NULL,
            signals = NULL,
            callback_subscriber_id = NULL,
            erased_at = tombstones.erased_at
        FROM {from_rows("tombstones", columns_of(_Row))}
        WHERE s.id = ANY (CAST(:ids AS text[])) AND s.id = tombstones.id
    )
    SELECT {NOTIFIED}
""")  # noqa: S608 - only our own column names are put in
# The ids of a subject's deliveries begin with its own, and "_"; the character after that is "`".
# Whoever records an attempt at one of them is waited for.
_LOCK_DELIVERIES = text("""
    SELECT id, subscriber_id, ordering_key, event_id, due_at, lease_token IS NOT NULL AS leased,
        state = 'pending' AS pending
    FROM deliveries WHERE id = ANY (ARRAY(
        SELECT d.id FROM unnest(CAST(:ids AS text[])) AS of (id) CROSS JOIN LATERAL (
            SELECT id FROM deliveries
            WHERE id > 'dlv_' || substr(of.id, 5) || '_' AND id < 'dlv_' || substr(of.id, 5) || '`'
            ORDER BY id
        ) d
    ))
    ORDER BY id FOR UPDATE
""")
_DELIVERIES = text("""
    UPDATE deliveries SET
        url = NULL, state = CASE state WHEN 'pending' THEN 'canceled' ELSE state END,
        due_at = NULL, lease_token = NULL, finished_at = coalesce(finished_at, :now)
    WHERE id = ANY (CAST(:delivery_ids AS text[])) AND (url IS NOT NULL OR state = 'pending')
""")
_MAKE_DUE = text("""
    UPDATE deliveries d SET due_at = given.due_at
    FROM unnest(CAST(:ids AS text[]), CAST(:times AS timestamptz[])) AS given (id, due_at)
    WHERE d.id = ANY (CAST(:ids AS text[])) AND d.id = given.id AND (d.state = 'pending') IS TRUE
""")
_ATTEMPTS = text(f"""
    UPDATE attempts SET
        response_body = '', error = CASE WHEN error IS NOT NULL THEN '{ERASED}' END
    WHERE delivery_id = ANY (CAST(:delivery_ids AS text[]))
""")  # noqa: S608 - our own word
_EVENTS = text("""
    UPDATE events SET body = NULL
    WHERE subject_id = ANY (CAST(:ids AS text[])) AND body IS NOT NULL
    AND id <> ALL (CAST(:event_ids AS text[]))
""")
_CALLBACKS = text("""
    UPDATE callbacks SET
        body = '', headers = '{}', reason = NULL, size = 0, erased_sha256 = sha256(body)
    WHERE erased_sha256 IS NULL AND id = ANY (
        ARRAY(SELECT id FROM callbacks WHERE subject_id = ANY (CAST(:ids AS text[])))
        || ARRAY(
            SELECT id FROM callbacks WHERE verdict IN ('unknown', 'mismatch')
            AND task_id = ANY (CAST(:task_ids AS text[]))
        )
    )
""")
_UNLINK = text("""
    DELETE FROM subject_media WHERE subject_id = ANY (CAST(:ids AS text[])) RETURNING hash
""")
# One that somebody else is sending just now is left to that; so is one that was sent between the
# look and the lock, which shows in its version.
_MEDIA = text("""
    DELETE FROM media WHERE hash = ANY (ARRAY(
        SELECT m.hash FROM media m
        WHERE m.hash = ANY (CAST(:hashes AS text[]))
        AND NOT EXISTS (SELECT FROM subject_media l WHERE l.hash = m.hash)
        AND m.xmin = (SELECT seen.xmin FROM media seen WHERE seen.hash = m.hash)
        FOR UPDATE OF m SKIP LOCKED
    ))
""")


async def write_tombstones(
    tx: Connection, tombstones: Sequence[Subject], events: Sequence[NewEvent]
) -> None:
    """Write what is left of subjects, and the event of each that says so, with its deliveries."""
    rows = [
        _Row(
            id=subject.id,
            version=subject.version,
            document=subject.document,
            erased_at=subject.erased_at or subject.updated_at,
            result=subject.result,
            error=subject.error,
        )
        for subject in tombstones
    ]
    values = {"tombstones": encode_rows(rows), "ids": _ids(tombstones)}
    await tx.execute(_SUBJECTS, values | event_values(events))


async def cancel_deliveries(
    tx: Connection, tombstones: Sequence[Subject], events: Sequence[NewEvent], now: datetime
) -> None:
    """Cancel what was still to be told of subjects, but these events of theirs, which have been
    written; and wipe the addresses and the answers of all that was told.

    An attempt under way is not recorded any more. Whom it goes to is told of the erasure once that
    attempt's lease is over, and so after it.
    """
    event_ids = {new.event.id for new in events}
    rows = await tx.execute(_LOCK_DELIVERIES, {"ids": _ids(tombstones)})
    earlier = [row["id"] for row in rows if row["event_id"] not in event_ids]
    if not rows:
        return
    under_way: dict[tuple[str, str], datetime] = {}
    for row in rows:
        if row["leased"] and row["event_id"] not in event_ids:
            line = (row["ordering_key"], row["subscriber_id"])
            under_way[line] = max(under_way.get(line, row["due_at"]), row["due_at"])
    waiting = {
        row["id"]: max(now, under_way.get((row["ordering_key"], row["subscriber_id"]), now))
        for row in rows
        if row["event_id"] in event_ids and row["pending"] and row["due_at"] is None
    }
    await tx.execute(_DELIVERIES, {"delivery_ids": earlier, "now": now})
    await tx.execute(_MAKE_DUE, {"ids": list(waiting), "times": list(waiting.values())})
    await tx.execute(_ATTEMPTS, {"delivery_ids": earlier})


async def wipe_others(
    tx: Connection,
    tombstones: Sequence[Subject],
    events: Sequence[NewEvent],
    media_hashes: Sequence[str],
) -> None:
    """Wipe the bodies of the subjects' events, but these, and the callbacks about them; and delete
    their images, which have these hashes, unless another unfinished subject needs them."""
    ids = _ids(tombstones)
    task_ids = [subject.provider_task_id for subject in tombstones if subject.provider_task_id]
    await tx.execute(_EVENTS, {"ids": ids, "event_ids": [new.event.id for new in events]})
    await tx.execute(_CALLBACKS, {"ids": ids, "task_ids": task_ids})
    linked = await tx.execute(_UNLINK, {"ids": ids})
    hashes = sorted({*media_hashes, *(row["hash"] for row in linked)})
    if hashes:
        await tx.execute(_MEDIA, {"hashes": hashes})


def _ids(subjects: Sequence[Subject]) -> list[str]:
    return [subject.id for subject in subjects]
